//! Copying to a workspace.

use std::fs::File;
use std::io::{self, Read};

use bytes::Bytes;
use prn_client::INPUT_PIECE_MAX;
use tokio::sync::{mpsc, oneshot};

use crate::copy::archive::read::{Archive, Source};
use crate::copy::far::{Far, FarPath};
use crate::copy::fault::CopyFault;
use crate::copy::pack::{self, Packed};
use crate::copy::plan::{self, Plan, Shape};
use crate::copy::selection::Selection;
use crate::copy::sum::Sum;
use crate::copy::talk::{Fodder, talk};
use crate::copy::thread::{QUEUE, blocking, ended};
use crate::failure::Failure;
use crate::input::local_input::LocalEnd;
use crate::interrupts::Interrupts;
use crate::output::Progress;
use crate::which::internal::Script;

/// For 60 times so many seconds, as sleep(1) has them, nothing may come, which is an hour: what is
/// packed may have to be waited for, and nobody tells the process of a client that was killed.
const PAUSE: &str = "60";

/// What is packed.
#[derive(Debug)]
pub enum Load {
    Plan(Plan),
    Archive(Archive<Stream>),
}

impl Load {
    /// What it is to the target.
    pub fn shape(&self) -> Shape {
        match self {
            Self::Plan(plan) => plan.shape.clone(),
            Self::Archive(_) => Shape::Contents,
        }
    }
}

/// Copies to a workspace, as `cp -a` does. Nothing of it is there before all has arrived; then all
/// is moved, and what is there under the same names is replaced.
///
/// # Errors
/// [`Failure::Copy`], and what a start, its input and its output can fail with. Some of it may be
/// there if moving it has failed ([`CopyFault::Far`]) or has taken longer than a stop waits
/// ([`CopyFault::Interrupted`]), and [`Failure::CopyUnknown`] knows nothing.
pub async fn up(
    far: &mut Far<'_>,
    what: Selection,
    to: &FarPath,
    interrupts: &mut Interrupts,
    progress: &Progress,
) -> Result<Sum, Failure> {
    let load = blocking(interrupts, move || load(what)).await??;
    let shape = load.shape();
    if let Load::Plan(plan) = &load {
        progress.expect(plan.bytes);
    }
    let (sender, pieces) = mpsc::channel(QUEUE);
    let (report, end) = oneshot::channel();
    let shown = progress.clone();
    let packing = tokio::task::spawn_blocking(move || {
        let packed = match load {
            Load::Plan(plan) => pack::plan(&plan, sender, &shown),
            Load::Archive(archive) => pack::archive(archive, sender, &shown),
        };
        // A process that did not get all would wait for the rest.
        let end = match &packed {
            Ok(_) => LocalEnd::Ended,
            Err(_) => LocalEnd::Failed(io::ErrorKind::InvalidData.into()),
        };
        let _unheard = report.send(end);
        packed
    });
    let script = Script {
        name: "prn-cp",
        text: include_str!("up.sh"),
        arguments: arguments(&shape, to),
    };
    let talked = talk(far, script, Some(Fodder { pieces, end }), None, interrupts).await;
    progress.clear();
    // What it reads may have no end, when the server's side has come to one.
    match (ended(&talked, packing).await, talked) {
        // It says why the rest failed.
        (Some(Ok(Err(fault))), _) => Err(fault.into()),
        (_, Err(failure)) => Err(failure),
        (Some(Ok(Ok(Packed::All(sum)))), Ok(())) => Ok(sum),
        (Some(Ok(Ok(Packed::Unread)) | Err(_)) | None, Ok(())) => {
            Err(CopyFault::Far("the server's side has not read all".to_owned()).into())
        }
    }
}

/// Looks at what is to be packed.
///
/// # Errors
/// As [`plan::of_paths`] and [`plan::of_names`].
pub fn load(what: Selection) -> Result<Load, CopyFault> {
    Ok(match what {
        Selection::Paths(paths) => Load::Plan(plan::of_paths(&paths)?),
        Selection::Listed { base, names } => Load::Plan(plan::of_names(&base, &names)?),
        Selection::Stream(file) => Load::Archive(Archive::new(Stream(file))),
    })
}

/// Of the script.
pub fn arguments(shape: &Shape, to: &FarPath) -> Vec<String> {
    let (word, name) = match shape {
        Shape::One(name) => ("one", name.as_slice()),
        Shape::Contents => ("contents", &[][..]),
        Shape::Many => ("many", &[][..]),
    };
    vec![
        word.to_owned(),
        crate::copy::far::printed(name),
        to.printed(),
        PAUSE.to_owned(),
    ]
}

/// An archive in a file, or in a pipe.
#[derive(Debug)]
pub struct Stream(File);

impl Source for Stream {
    fn piece(&mut self) -> io::Result<Bytes> {
        let mut piece = vec![0; INPUT_PIECE_MAX];
        loop {
            match self.0.read(&mut piece) {
                Ok(read) => {
                    piece.truncate(read);
                    return Ok(piece.into());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
