//! OpenSSH to compare with: a daemon and a client of the driver's own, on loopback, with keys made
//! for the run.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;

/// Where the daemon's unprivileged part is shut in. Debian makes it when the service starts.
const EMPTY_FOLDER: &str = "/run/sshd";

/// Who is asked for, and where.
const HOST: &str = "root@127.0.0.1";

/// A running sshd, ended when dropped.
#[derive(Debug)]
pub struct Ssh {
    daemon: Child,
    folder: TempDir,
    port: u16,
    made_empty_folder: bool,
    master: Option<Child>,
}

impl Ssh {
    /// Starts it. `None`: OpenSSH is not installed.
    ///
    /// # Errors
    /// If it is installed and does not start.
    pub fn start() -> anyhow::Result<Option<Self>> {
        // sshd executes itself again, and wants its whole path for that.
        let (Some(sshd), Some(_), Some(_)) = (find("sshd"), find("ssh"), find("ssh-keygen")) else {
            return Ok(None);
        };
        let folder = tempfile::Builder::new()
            .prefix("prn-bench-ssh-")
            .tempdir()?;
        let path = folder.path();
        for name in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            let status = keygen
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(path.join(name))
                .status()?;
            ensure!(status.success(), "ssh-keygen: {status}");
        }
        fs::copy(path.join("user.pub"), path.join("authorized_keys"))?;
        let made_empty_folder = fs::DirBuilder::new()
            .mode(0o755)
            .create(EMPTY_FOLDER)
            .is_ok();
        // Free a moment ago: nobody else is asked to take one just now.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let folder_name = path.display();
        // HOME: a user without shell start-up files. No PAM: prn has nothing like it.
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {folder_name}/host\nAuthorizedKeysFile {folder_name}/authorized_keys\n\
             PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPrintMotd no\nPrintLastLog no\nMaxStartups 100\nSetEnv HOME={folder_name}\n"
        );
        fs::write(path.join("sshd_config"), config)?;
        let host_key = fs::read_to_string(path.join("host.pub"))?;
        fs::write(
            path.join("known_hosts"),
            format!("[127.0.0.1]:{port} {host_key}"),
        )?;
        let mut command = Command::new(sshd);
        command
            .args(["-D", "-e", "-f"])
            .arg(path.join("sshd_config"));
        let log = fs::File::create(path.join("sshd.log"))?;
        let daemon = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let mut ssh = Self {
            daemon,
            folder,
            port,
            made_empty_folder,
            master: None,
        };
        ssh.wait(|ssh| TcpStream::connect(("127.0.0.1", ssh.port)).is_ok())?;
        let output = ssh.command(&[], &["true"]).output()?;
        ensure!(
            output.status.success(),
            "ssh: {}{}",
            String::from_utf8_lossy(&output.stderr),
            ssh.log()
        );
        Ok(Some(ssh))
    }

    /// `ssh host COMMAND`, with further options.
    pub fn command(&self, options: &[&str], command: &[&str]) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(self.options())
            .args(options)
            .arg(HOST)
            .args(command)
            .stdin(Stdio::null());
        ssh
    }

    /// The same for a program that takes a shell and a host, as rsync(1) does.
    pub fn shell(&self, options: &[&str]) -> (String, &'static str) {
        let mut words = self.options();
        words.extend(options.iter().map(|word| (*word).to_owned()));
        (format!("ssh {}", words.join(" ")), HOST)
    }

    /// Those of every client.
    fn options(&self) -> Vec<String> {
        let path = self.folder.path().display();
        let known_hosts = format!("UserKnownHostsFile={path}/known_hosts");
        let (port, key) = (self.port.to_string(), format!("{path}/user"));
        let mut words = vec!["-F", "none", "-T", "-x"];
        for option in [
            "BatchMode=yes",
            "LogLevel=ERROR",
            "IdentitiesOnly=yes",
            &known_hosts,
        ] {
            words.extend(["-o", option]);
        }
        words.extend(["-p", &port, "-i", &key]);
        words.into_iter().map(str::to_owned).collect()
    }

    /// Starts a connection that `options_of_master` make others use (ControlMaster, ssh_config(5)).
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start_master(&mut self) -> anyhow::Result<()> {
        let socket = self.socket();
        let mut command = self.command(&["-M", "-N", "-S", &socket], &[]);
        self.master = Some(command.stdout(Stdio::null()).spawn()?);
        self.wait(|_| Path::new(&socket).exists())
    }

    /// The master's socket, for `-S`.
    pub fn socket(&self) -> String {
        self.folder.path().join("master").display().to_string()
    }

    fn wait(&mut self, ready: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        for _ in 0..500 {
            if ready(self) {
                return Ok(());
            }
            ensure!(
                self.daemon.try_wait()?.is_none(),
                "sshd ended: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(anyhow::anyhow!("waited too long: {}", self.log())).context("sshd")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("sshd.log")).unwrap_or_default()
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        for child in self.master.iter_mut().chain([&mut self.daemon]) {
            let _ = child.kill();
            let _ = child.wait();
        }
        if self.made_empty_folder {
            let _ = fs::remove_dir(EMPTY_FOLDER);
        }
    }
}

/// A program, on PATH or where daemons are.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}
