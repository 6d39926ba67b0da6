//! Workspaces: made, entered, watched, removed. Runs in the supervisor.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::SIGKILL;
use prn_ipc_protocol::config::Layers;
use prn_ipc_protocol::fds::{quota, tools};
use prn_ipc_protocol::message::{
    DiskLimit, ExitCause, ExitStatus, Preparation, Refusal, StopHow, WorkspaceInfo, WorkspaceSpec,
};
use prn_ipc_protocol::types::{AccessName, UnixMicros, WorkspaceName};

use super::leftover::{Leftover, Owner};
use super::{Notice, Runner, resources};
use crate::accounts::Account;
use crate::cgroup::{self, Group};
use crate::deadlines::{Deadline, Due};
use crate::directory::{self, Holder};
use crate::events::Part;
use crate::process::{Live, Phase, Process};
use crate::resolve::home;
use crate::sys::pidfd;
use crate::sys::spawn::{self, Child, Ids, Places, Program};
use crate::workspaces::{Next, StopAll, Watcher, Workspace};

/// How long a watcher has to die.
const DISMISSAL: Duration = Duration::from_secs(5);

/// So many processes of a workspace are stopped at once, and as many again after each of these times:
/// what else there is to do does not wait for thousands.
const STOPPED_AT_ONCE: u32 = 64;
const STOP_STEP: Duration = Duration::from_millis(10);

impl Runner {
    /// What is known of all workspaces.
    pub fn workspaces(&self) -> impl Iterator<Item = &WorkspaceInfo> {
        self.workspaces.infos()
    }

    /// Makes a workspace.
    ///
    /// # Errors
    /// The refusal; nothing is left of the attempt.
    pub fn create_workspace(
        &mut self,
        spec: &WorkspaceSpec,
        created_by: Option<AccessName>,
    ) -> Result<WorkspaceInfo, Refusal> {
        if self.draining {
            return Err(Refusal::Draining);
        }
        let disk = self
            .workspaces
            .admit(&self.settings.config.workspaces, spec)?;
        let holder = Holder::Workspace(spec.name.clone());
        let made = self.with_uid(|runner, uid| {
            let group = runner.make_workspace(&holder, uid, disk)?;
            Ok((group, uid))
        });
        let (group, uid) = made.inspect_err(|refusal| self.log_refusal("a workspace", refusal))?;
        let info = WorkspaceInfo {
            name: spec.name.clone(),
            directory: home(&self.settings.config.state_dir, &holder),
            uid,
            created_by,
            created: UnixMicros::now(),
            disk,
            is_leaving: false,
        };
        self.last_number += 1;
        self.workspaces.insert(Workspace {
            number: self.last_number,
            info: info.clone(),
            living: 0,
            group: Some(group),
            watcher: None,
            is_over: false,
            stop_all: None,
            is_tried: false,
        });
        Ok(info)
    }

    /// Makes what a workspace has. Where that fails nothing is left.
    fn make_workspace(
        &self,
        holder: &Holder,
        uid: u32,
        disk: Option<DiskLimit>,
    ) -> Result<Group, Refusal> {
        let state = self.settings.state.as_fd();
        directory::create(state, holder, uid).map_err(|error| {
            if error == Errno::EEXIST {
                // Of an earlier server, which could not empty it.
                Refusal::WorkspaceExists
            } else {
                resources(Preparation::Directory)(error)
            }
        })?;
        let name = holder.to_string();
        let group = Group::create(&self.settings.groups, &name);
        let group = group.map_err(resources(Preparation::Cgroup));
        let made = group.and_then(|group| {
            let bound = self.bound_disk(uid, disk);
            bound.map_err(resources(Preparation::DiskLimit))?;
            Ok(group)
        });
        made.inspect_err(|_| {
            let _unused = cgroup::remove(self.settings.groups.as_fd(), &name);
            directory::remove(state, holder);
        })
    }

    /// Has the file system bound what a user takes of it, if it does such things.
    fn bound_disk(&self, uid: u32, disk: Option<DiskLimit>) -> nix::Result<()> {
        if !self.settings.config.workspaces.has_quota {
            return Ok(());
        }
        quota::set(
            self.settings.state.as_fd(),
            uid,
            disk.map(|disk| disk.bytes),
        )
    }

    /// Removes a workspace. [`Notice::WorkspaceGone`] or [`Notice::WorkspaceTried`] follows.
    ///
    /// # Errors
    /// `UnknownWorkspace`; `WorkspaceInUse`, where `how` does not say how to stop its processes.
    pub fn remove_workspace(
        &mut self,
        name: &WorkspaceName,
        how: Option<StopHow>,
    ) -> Result<(), Refusal> {
        let workspace = self.workspaces.get_mut(name);
        let workspace = workspace.ok_or(Refusal::UnknownWorkspace)?;
        if workspace.living > 0 && how.is_none() && !workspace.info.is_leaving {
            return Err(Refusal::WorkspaceInUse(workspace.living));
        }
        if workspace.is_tried {
            self.notices.push_back(Notice::WorkspaceTried(name.clone()));
        }
        self.begin_removal(name);
        if let Some(how) = how {
            self.stop_workspace(name, how, ExitCause::StoppedOnRequest);
        }
        Ok(())
    }

    /// Removes all of them, now that their processes are being stopped.
    pub(super) fn begin_removals(&mut self) {
        let names: Vec<_> = self.workspaces().map(|info| info.name.clone()).collect();
        for name in names {
            self.begin_removal(&name);
        }
    }

    /// Lets nothing start in it any more.
    fn begin_removal(&mut self, name: &WorkspaceName) {
        let Some(workspace) = self.workspaces.get_mut(name) else {
            return;
        };
        if !std::mem::replace(&mut workspace.info.is_leaving, true) {
            let info = workspace.info.clone();
            self.notices.push_back(Notice::WorkspaceLeaves(info));
        }
        self.go_on_with_workspace(name);
    }

    /// Stops all processes of it, some at a time.
    fn stop_workspace(&mut self, name: &WorkspaceName, how: StopHow, cause: ExitCause) {
        let Some(workspace) = self.workspaces.get_mut(name) else {
            return;
        };
        workspace.stop_all = Some(StopAll { how, cause });
        let lives = self.table.iter().filter(|(_, process)| {
            process.live.is_some() && process.info.spec.workspace.as_ref() == Some(name)
        });
        let lives: Vec<_> = lives.map(|(number, _)| *number).collect();
        for (number, place) in lives.into_iter().zip(0..) {
            let step: u32 = place;
            self.deadlines.replace(Deadline {
                at: Instant::now() + STOP_STEP * (step / STOPPED_AT_ONCE),
                process: number,
                due: Due::StopAll,
            });
        }
    }

    /// Stops a process as its workspace says.
    pub(super) fn stop_with_workspace(&mut self, process: &mut Process) {
        let name = process.info.spec.workspace.as_ref();
        let workspace = name.and_then(|name| self.workspaces.get_mut(name));
        if let Some(StopAll { how, cause }) = workspace.and_then(|workspace| workspace.stop_all) {
            self.stop_process(process, how, cause);
        }
    }

    /// A process is about to be made in it. Returns the user that it runs as.
    pub(super) fn enter_workspace(&mut self, name: &WorkspaceName) -> Result<u32, Refusal> {
        let workspace = self.workspaces.open(name)?;
        let uid = workspace.info.uid;
        if workspace.watcher.is_none() {
            self.watch_workspace(name)
                .map_err(resources(Preparation::DiskLimit))?;
        }
        if let Some(workspace) = self.workspaces.get_mut(name) {
            workspace.living += 1;
        }
        Ok(uid)
    }

    /// A process that was started in it is gone, or was not made.
    pub(super) fn gone_from_workspace(&mut self, name: &WorkspaceName) {
        if let Some(workspace) = self.workspaces.get_mut(name) {
            workspace.living -= 1;
        }
        self.go_on_with_workspace(name);
    }

    /// Takes the next step towards its end, or that of its watcher.
    fn go_on_with_workspace(&mut self, name: &WorkspaceName) {
        let Some(workspace) = self.workspaces.get_mut(name) else {
            return;
        };
        let number = workspace.number;
        match (workspace.next(), &mut workspace.watcher) {
            (Next::Dismiss, Some(watcher)) => {
                watcher.is_dismissed = true;
                let _unused = pidfd::signal(&watcher.child, SIGKILL);
                self.deadline(number, DISMISSAL, Due::Dismissed);
            }
            (Next::Await, _) => self.deadline(number, DISMISSAL, Due::Dismissed),
            (Next::Remove, _) => {
                if let Some(group) = workspace.group.take() {
                    let leftover = leftover_of(workspace, group);
                    self.go_on_with(leftover);
                }
            }
            (Next::Nothing | Next::Dismiss, _) => {}
        }
    }

    /// Has it watched, if nothing else bounds its disk space.
    fn watch_workspace(&mut self, name: &WorkspaceName) -> nix::Result<()> {
        let workspace = self.workspaces.open(name).ok();
        let watched = workspace.and_then(|workspace| Some((workspace, workspace.watched_bytes()?)));
        let Some((workspace, bytes)) = watched else {
            return Ok(());
        };
        let child = self.start_watcher(workspace, bytes)?;
        if let Some(workspace) = self.workspaces.get_mut(name) {
            workspace.watcher = Some(Watcher {
                child,
                is_dismissed: false,
            });
        }
        Ok(())
    }

    /// Starts its watcher, as its user and confined as a process of profile default, but for
    /// Landlock, which keeps processes from tracing it (landlock(7)) and would keep it from its own
    /// program, wherever that is.
    fn start_watcher(&self, workspace: &Workspace, bytes: u64) -> nix::Result<OwnedFd> {
        let (settings, info) = (&self.settings, &workspace.info);
        let program = settings.tools.as_ref().ok_or(Errno::ENOENT)?.as_fd();
        let holder = Holder::Workspace(info.name.clone());
        let watched = directory::open(settings.state.as_fd(), &holder);
        let descriptors: Vec<_> = watched.iter().map(AsFd::as_fd).collect();
        let group = workspace.group.as_ref().ok_or(Errno::ENOENT)?;
        let layers = Layers {
            landlock: None,
            ..settings.config.confinement.default.clone()
        };
        let [own, temporary] = directory::paths(&holder);
        let account = Account::of(info.uid, &info.directory);
        let bytes = std::ffi::CString::new(bytes.to_string()).unwrap_or_default();
        let mut argv = vec![tools::WATCHER.into(), bytes];
        argv.extend(workspace.is_over.then(|| tools::OVER.into()));
        let spawned = spawn::spawn_apart(&Child {
            argv: &argv,
            descriptors: &descriptors,
            layers: Some(&layers),
            places: Some(Places {
                state: &settings.config.state_dir,
                own: &own,
                temporary: &temporary,
                passwd: &account.passwd,
                group: &account.group,
                in_memory: None,
            }),
            ..Child::new(
                group.directory()?.as_fd(),
                Program::File(program),
                Ids::of_user(info.uid),
                self.null.as_fd(),
            )
        })?;
        self.watch_child(group, &spawned.pidfd, workspace.number, Part::Watcher)?;
        Ok(spawned.pidfd)
    }

    /// Its watcher has ended. Who is unwatched is stopped, if that was not what is wanted.
    pub(super) fn watcher_ended(&mut self, number: u64) {
        let Some(workspace) = self.workspaces.numbered(number) else {
            return;
        };
        let name = workspace.info.name.clone();
        let Some(watcher) = &workspace.watcher else {
            return;
        };
        let Ok(Some(status)) = pidfd::reap(&watcher.child) else {
            return;
        };
        let Some(watcher) = workspace.watcher.take() else {
            return;
        };
        let is_above = status == ExitStatus::Exited(tools::ABOVE);
        workspace.is_over |= is_above;
        let is_lived_in = workspace.living > 0;
        self.detach(&watcher.child);
        self.deadlines.remove_all_of_life(number);
        if is_lived_in && let Some(why) = self.unwatched(&name, &watcher, status) {
            let message = format!("{why}: its processes are killed");
            crate::log::warning(&message, &[("workspace", name.as_str())]);
            self.stop_workspace(&name, StopHow::Kill, ExitCause::DiskLimit);
        }
        self.go_on_with_workspace(&name);
    }

    /// Why processes are not watched any more. One that was dismissed is replaced: others have come.
    fn unwatched(
        &mut self,
        name: &WorkspaceName,
        watcher: &Watcher,
        status: ExitStatus,
    ) -> Option<String> {
        if watcher.is_dismissed {
            let error = self.watch_workspace(name).err()?;
            return Some(format!("its disk space cannot be watched: {error}"));
        }
        Some(match status {
            ExitStatus::Exited(tools::ABOVE) => "it takes more of the disk than it may".to_owned(),
            ExitStatus::Exited(_) | ExitStatus::Signalled { .. } => {
                format!("who watched its disk space has ended: {status:?}")
            }
        })
    }

    /// Its watcher was killed and is still there. It is not waited for.
    pub(super) fn watcher_stays(&mut self, number: u64) {
        let Some(workspace) = self.workspaces.numbered(number) else {
            return;
        };
        if workspace.next() != Next::Await {
            return;
        }
        let (owner, name) = (owner(workspace), workspace.info.name.clone());
        self.note_tried(&name);
        if self.draining {
            let message = "who watched its disk space cannot be killed";
            crate::log::warning(message, &[("workspace", name.as_str())]);
            self.forget_workspace(&owner);
        }
    }

    /// The removal of a workspace, if it is being removed, has had its time once.
    pub(super) fn note_tried(&mut self, name: &WorkspaceName) {
        if let Some(workspace) = self.workspaces.get_mut(name)
            && workspace.info.is_leaving
        {
            workspace.is_tried = true;
            self.notices.push_back(Notice::WorkspaceTried(name.clone()));
        }
    }

    /// Nothing of a workspace, if it is one, is left that this server will see to.
    pub(super) fn forget_workspace(&mut self, owner: &Owner) {
        let Holder::Workspace(name) = &owner.holder else {
            return;
        };
        if let Err(error) = self.bound_disk(owner.uid, None) {
            let fields = [("workspace", name.as_str()), ("error", error.desc())];
            crate::log::warning("its quota stays", &fields);
        }
        self.workspaces.remove(name);
        self.notices.push_back(Notice::WorkspaceGone(name.clone()));
    }
}

fn owner(workspace: &Workspace) -> Owner {
    Owner {
        number: workspace.number,
        holder: Holder::Workspace(workspace.info.name.clone()),
        workspace: None,
        uid: workspace.info.uid,
    }
}

/// What there is to remove of it, with the group that was its watcher's.
fn leftover_of(workspace: &Workspace, group: Group) -> Leftover {
    Leftover {
        owner: owner(workspace),
        live: Live::removing(Phase::Removing, group),
        tries: 0,
    }
}
