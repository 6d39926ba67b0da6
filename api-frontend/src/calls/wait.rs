//! Wait: answered from the mirror.
//!
//! A call that waits holds its processes, and nothing else of it is anywhere: once it has gone,
//! with its client or its deadline, nothing of it is left. For all of them it waits one after the
//! other, so that a change wakes it only where it stands.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use prn_ipc_protocol::policy::Verb;
use prn_proto::v1;
use prost::encoding::message::encoded_len;
use tonic::Status;

use crate::calls::list::ANSWER_MAX;
use crate::calls::server::{Server, enter_waits};
use crate::clients::Client;
use crate::convert::process::{brief, listed};
use crate::convert::several::Several;
use crate::convert::wait::{self, Condition, Wait};
use crate::errors;
use crate::mirror::Process;

/// Field number of [`v1::WaitResponse::processes`].
const PROCESSES: u32 = 1;

/// Waits for the end of processes.
pub async fn wait(
    server: &Server,
    client: &Client,
    request: v1::WaitRequest,
) -> Result<v1::WaitResponse, Status> {
    client.access.check(Verb::List)?;
    let wait = wait::wait(request, client.access.scope())?;
    let processes = processes(server, client, &wait.of)?;
    if !is_over(&processes, &wait) {
        let _waits = enter_waits(&server.waits, client.number, processes.len())
            .map_err(errors::too_many_waits)?;
        tokio::select! {
            () = over(&processes, &wait) => {}
            // All that the supervisor has said by then is known.
            () = server.supervisor.closed() => {
                if !is_over(&processes, &wait) {
                    return Err(server.gone());
                }
            }
        }
    }
    let mut answer = answer(&processes, wait.condition)?;
    answer.boot_epoch = server.boot_epoch();
    Ok(answer)
}

fn processes(server: &Server, client: &Client, of: &Several) -> Result<Vec<Arc<Process>>, Status> {
    match of {
        Several::Named(ids) => ids.iter().map(|id| server.process(client, *id)).collect(),
        Several::Selected(selector) => Ok(server.mirror.selected(selector).collect()),
    }
}

fn is_done(process: &Process, condition: Condition) -> bool {
    condition.is_met(&process.info()) || process.is_forgotten()
}

fn is_over(processes: &[Arc<Process>], wait: &Wait) -> bool {
    let mut done = processes
        .iter()
        .map(|process| is_done(process, wait.condition));
    if wait.is_any {
        processes.is_empty() || done.any(|is_done| is_done)
    } else {
        done.all(|is_done| is_done)
    }
}

async fn over(processes: &[Arc<Process>], wait: &Wait) {
    let one = async |process: &Process| {
        let mut changes = process.changes();
        let is_done = |info: &Arc<_>| wait.condition.is_met(info) || process.is_forgotten();
        // Its channel is open for as long as it is held here.
        drop(changes.wait_for(is_done).await);
    };
    if wait.is_any {
        let mut all: FuturesUnordered<_> = processes.iter().map(|process| one(process)).collect();
        all.next().await;
    } else {
        for process in processes {
            one(process).await;
        }
    }
}

/// Those that are done. What the answer has no room for of a process is left out.
fn answer(processes: &[Arc<Process>], condition: Condition) -> Result<v1::WaitResponse, Status> {
    let mut answer = v1::WaitResponse::default();
    let mut bytes = 0;
    for process in processes {
        let info = process.info();
        if condition.is_met(&info) {
            let mut shown = listed(&info, false);
            if bytes + encoded_len(PROCESSES, &shown) > ANSWER_MAX / 2 {
                shown = brief(shown);
            }
            bytes += encoded_len(PROCESSES, &shown);
            answer.processes.push(shown);
        } else if process.is_forgotten() {
            let id = info.id.to_string();
            answer.removed.push(v1::ProcessIdentifier { id });
        }
    }
    if bytes > ANSWER_MAX {
        return Err(errors::too_many_selected(answer.processes.len()));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::process::tests::{ended, info};
    use crate::mirror::Mirror;
    use prn_ipc_protocol::message::{ExitCause, ExitStatus, OutputTotals, ProcessInfo};
    use prost::Message;
    use std::future::Future;
    use std::pin::pin;
    use std::task::Poll;

    fn process(number: u64) -> ProcessInfo {
        let mut process = info(&format!("{number:032x}"), number);
        process.change = number;
        process
    }

    fn end(mirror: &Mirror, number: u64, change: u64) {
        let totals = OutputTotals::default();
        let code = u8::try_from(number % 256).unwrap();
        let mut over = ended(
            process(number),
            ExitStatus::Exited(code),
            ExitCause::Exited,
            totals,
        );
        over.change = change;
        mirror.update(over);
    }

    fn asked(is_any: bool) -> Wait {
        Wait {
            of: Several::Named(vec![]),
            is_any,
            condition: Condition::Ended,
        }
    }

    fn held(mirror: &Mirror) -> Vec<Arc<Process>> {
        mirror
            .walk(crate::mirror::Order::OldestFirst, None)
            .collect()
    }

    async fn is_pending(future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        let mut future = future;
        std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending()))
            .await
    }

    #[tokio::test]
    async fn a_wait_is_over_when_all_are_done_or_one_is() {
        let mirror = Mirror::default();
        (1..=3).for_each(|number| mirror.update(process(number)));
        let processes = held(&mirror);
        let (all, any) = (asked(false), asked(true));
        let (mut waits_all, mut waits_any) =
            (pin!(over(&processes, &all)), pin!(over(&processes, &any)));
        assert!(is_pending(waits_all.as_mut()).await && is_pending(waits_any.as_mut()).await);
        end(&mirror, 2, 4);
        assert!(is_pending(waits_all.as_mut()).await && !is_pending(waits_any.as_mut()).await);
        end(&mirror, 1, 5);
        // Forgotten before its end was told.
        mirror.forget(process(3).id, 6);
        assert!(!is_pending(waits_all.as_mut()).await && is_over(&processes, &all));
        // Forgotten after.
        mirror.forget(process(1).id, 7);
        let answer = answer(&processes, Condition::Ended).unwrap();
        let codes = answer
            .processes
            .iter()
            .map(|it| it.status.as_ref().unwrap().exit_code);
        assert_eq!(codes.collect::<Vec<_>>(), [1, 2]);
        assert_eq!(answer.removed[0].id, process(3).id.to_string());
    }

    #[test]
    fn nobody_waits_for_nothing() {
        assert!(is_over(&[], &asked(true)) && is_over(&[], &asked(false)));
    }

    #[test]
    fn an_answer_has_room_for_all_that_can_be_named_however_long_they_are() {
        let mirror = Mirror::default();
        for number in 1..=1000 {
            let mut long = process(number);
            let argument = std::ffi::CString::new("x".repeat(100_000)).unwrap();
            long.spec.argv = vec![c"echo".into(), argument].try_into().unwrap();
            let totals = OutputTotals::default();
            mirror.update(ended(
                long,
                ExitStatus::Exited(3),
                ExitCause::Exited,
                totals,
            ));
        }
        let answer = answer(&held(&mirror), Condition::Ended).unwrap();
        assert!(answer.encoded_len() <= ANSWER_MAX);
        let is_whole = |it: &v1::Process| !it.status.as_ref().unwrap().command.is_empty();
        assert!(is_whole(&answer.processes[0]) && !is_whole(&answer.processes[999]));
        let codes = answer
            .processes
            .iter()
            .map(|it| it.status.as_ref().unwrap().exit_code);
        assert_eq!(codes.filter(|code| *code == 3).count(), 1000);
    }
}
