//! Libraries of other languages: each in a folder that is filled when it is not there, or when what
//! is asked for has changed. Never in the source tree.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{Flock, FlockArg};

/// The libraries of a Python program.
#[derive(Debug, Clone)]
pub struct Python {
    /// The program that runs it.
    pub interpreter: PathBuf,
    /// The folder of the modules that were generated from the API's schema, for PYTHONPATH.
    pub stubs: PathBuf,
}

/// Fills `folder` as the `package-lock.json` in `source` says; returns the folder of the libraries,
/// for NODE_PATH.
///
/// # Panics
/// If node or npm is not installed, or installing fails.
pub fn npm(folder: &Path, source: &Path) -> PathBuf {
    const LOCK: &str = "package-lock.json";
    let wanted = fs::read(source.join(LOCK)).expect(LOCK);
    installed(folder, &wanted, || {
        need("node");
        need("npm");
        for name in ["package.json", LOCK] {
            fs::copy(source.join(name), folder.join(name)).expect(name);
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        succeed(npm.current_dir(folder));
    });
    folder.join("node_modules")
}

/// Fills `folder` as the `requirements.txt` in `source` says, and with what its tools generate from
/// `schema`.
///
/// # Panics
/// If python3 or its venv is not installed, or installing fails.
pub fn python(folder: &Path, source: &Path, schema: &Path) -> Python {
    let requirements = source.join("requirements.txt");
    let (environment, stubs) = (folder.join("venv"), folder.join("stubs"));
    let programs = environment.join("bin");
    let interpreter = programs.join("python3");
    let mut wanted = fs::read(&requirements).expect("requirements.txt");
    wanted.extend(fs::read(schema).expect("the schema"));
    installed(folder, &wanted, || {
        fill_python(&environment, &requirements);
        fs::create_dir_all(&stubs).expect("a folder for stubs");
        let mut protoc = Command::new(&interpreter);
        protoc.args(["-m", "grpc_tools.protoc", "--python_out=."]);
        protoc.args(["--grpclib_python_out=.", "-I"]);
        protoc.arg(schema.parent().expect("its folder")).arg(schema);
        // Its plugin is one of the programs.
        let path = std::env::var("PATH").unwrap_or_default();
        protoc.env("PATH", format!("{}:{path}", programs.display()));
        succeed(protoc.current_dir(&stubs));
    });
    Python { interpreter, stubs }
}

/// Fills `folder` as the `requirements.txt` in `source` says; returns the program that runs Python with
/// that.
///
/// # Panics
/// As [`python`].
pub fn plain_python(folder: &Path, source: &Path) -> PathBuf {
    let requirements = source.join("requirements.txt");
    let environment = folder.join("venv");
    let wanted = fs::read(&requirements).expect("requirements.txt");
    installed(folder, &wanted, || fill_python(&environment, &requirements));
    environment.join("bin/python3")
}

fn fill_python(environment: &Path, requirements: &Path) {
    need("python3");
    let mut venv = Command::new("python3");
    succeed(venv.args(["-m", "venv", "--clear"]).arg(environment));
    let mut pip = Command::new(environment.join("bin/python3"));
    pip.args(["-m", "pip", "install", "--quiet"]);
    pip.args(["--disable-pip-version-check", "--only-binary=:all:", "-r"]);
    succeed(pip.arg(requirements));
}

/// Fills `folder` unless it is there as `wanted`. Tests run side by side: one fills, others wait.
fn installed(folder: &Path, wanted: &[u8], fill: impl FnOnce()) {
    fs::create_dir_all(folder).expect("a folder for libraries");
    let lock = File::create(folder.join("lock")).expect("a lock");
    let _lock = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .expect("the lock");
    let done = folder.join("installed");
    if fs::read(&done).is_ok_and(|found| found == wanted) {
        return;
    }
    fill();
    fs::write(done, wanted).expect("a note of what is installed");
}

fn need(tool: &str) {
    let mut version = Command::new(tool);
    let version = version.arg("--version").stdin(Stdio::null()).output();
    let is_missing = version.is_err_and(|error| error.kind() == ErrorKind::NotFound);
    assert!(
        !is_missing,
        "{tool} is not installed, and a client of another language needs it"
    );
}

fn succeed(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
