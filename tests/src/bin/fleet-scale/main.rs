//! A fleet of 10,000 hosts on paper: what its etcd would have to do, simulated from figures that
//! were measured. The document: docs/fleet-scale.md.
//!
//! ```text
//! fleet-scale --tables     the document's tables, the same each time
//! fleet-scale --measure    the figures of an etcd on this machine that they are made from
//! ```
#![expect(clippy::print_stdout, reason = "a program that measures prints")]

mod contention;
mod fleet;
mod inputs;
mod measure;
mod records;
mod size;
mod spread;
mod store;
mod storm;
mod tables;
mod text;

use anyhow::bail;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["--tables"] => {
            for (name, table) in tables::ALL {
                println!("{name}\n\n{}", table());
            }
            Ok(())
        }
        ["--measure"] => measure::measure(),
        _ => bail!("say what to do: fleet-scale --tables, or fleet-scale --measure"),
    }
}
