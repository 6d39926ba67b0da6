//! `prn-signer`: signs handshakes with a key that does not leave its token.
//!
//! Started by `prn server start` and `prn server reload`, and by clients. A token's module is a
//! shared library of somebody else's, so it is loaded here and nowhere else: as a user of its own,
//! or as the client's user, never as root. It trusts who started it; of those that have it sign it
//! trusts nothing, and signs nothing but what [`Role::signs`] says.
//!
//! [`run`] is the order of the start.
#![forbid(unsafe_code)]

mod identity;
mod serve;
mod token;

use std::env::args;
use std::process::ExitCode;

use prn_proto::signer::Role;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            identity::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut words = args().skip(1);
    let (step, rest) = (words.next(), words.collect::<Vec<_>>());
    if step.as_deref() != Some("serve") {
        identity::close_others()?;
    }
    match (step.as_deref(), rest.as_slice()) {
        // First as who started it, and root if that is who: nothing is read and nothing loaded.
        (Some("server"), [uid, gid, groups @ ..]) => {
            identity::become_user(uid, gid, groups)?;
            identity::again("server")
        }
        (Some("client"), []) => identity::again("client"),
        (Some("serve"), [role]) if role == "server" => serving(Role::Server),
        (Some("serve"), [role]) if role == "client" => serving(Role::Client),
        _ => Err("`prn server start` and clients with a key in a token start it".to_owned()),
    }
}

fn serving(role: Role) -> Result<(), String> {
    let control = identity::control()?;
    if let Err(why) = identity::confine(role) {
        serve::answer(&control, Err(why));
        return Ok(());
    }
    serve::end_with(&control)?;
    let Some((uri, pin)) = serve::asked(&control)? else {
        return Ok(());
    };
    let key = token::Token::find(&uri, pin);
    let answer = key.as_ref().map(drop).map_err(ToString::to_string);
    serve::answer(&control, answer);
    match key {
        Ok(key) => serve::serve(control, &key, role),
        // Who asked knows why.
        Err(_) => Ok(()),
    }
}
