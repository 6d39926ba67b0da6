//! What programs look at in an error: `google.rpc.ErrorInfo`, whose reasons are stable names.

/// `ErrorInfo.domain` of every error that prn makes.
pub const DOMAIN: &str = "prn";

/// A field is malformed or over its limit.
pub const INVALID_FIELD: &str = "INVALID_FIELD";
/// No process has this id.
pub const PROCESS_NOT_FOUND: &str = "PROCESS_NOT_FOUND";
/// The process is being stopped, for which it has to run.
pub const PROCESS_STOPPING: &str = "PROCESS_STOPPING";
/// The id names a process with another specification.
pub const PROCESS_EXISTS: &str = "PROCESS_EXISTS";
/// The id was that of a process that has ended and was forgotten.
pub const PROCESS_FORGOTTEN: &str = "PROCESS_FORGOTTEN";
/// The policy does not allow what is asked for to this client.
pub const NOT_ALLOWED: &str = "NOT_ALLOWED";
/// The policy allows it to this client at other hours.
pub const OUTSIDE_HOURS: &str = "OUTSIDE_HOURS";
/// The policy lets this client start processes, and not this one.
pub const START_NOT_ALLOWED: &str = "START_NOT_ALLOWED";
/// The server does not allow this profile.
pub const PROFILE_NOT_ALLOWED: &str = "PROFILE_NOT_ALLOWED";
/// The server's host can't enforce this profile.
pub const PROFILE_NOT_AVAILABLE: &str = "PROFILE_NOT_AVAILABLE";
/// Processes have no namespaces, without which directories cannot be shown in another way.
pub const PATHS_NOT_AVAILABLE: &str = "PATHS_NOT_AVAILABLE";
/// Processes have no namespaces, without which none runs as a user of the machine's.
pub const USER_NOT_AVAILABLE: &str = "USER_NOT_AVAILABLE";
/// The server does not let this directory be bound.
pub const PATH_NOT_BINDABLE: &str = "PATH_NOT_BINDABLE";
/// A directory that is to be seen in another way is not there, or what is to be bound is another one
/// than when the server started.
pub const PATH_NOT_FOUND: &str = "PATH_NOT_FOUND";
/// What is to be seen in another way is a file.
pub const PATH_NOT_DIRECTORY: &str = "PATH_NOT_DIRECTORY";
/// The process's user may not look where a directory is to be seen in another way, or may not enter
/// what is to be bound.
pub const PATH_NOT_ACCESSIBLE: &str = "PATH_NOT_ACCESSIBLE";
/// No workspace has this name.
pub const WORKSPACE_NOT_FOUND: &str = "WORKSPACE_NOT_FOUND";
/// A workspace has this name, or what is left of one that is being removed.
pub const WORKSPACE_EXISTS: &str = "WORKSPACE_EXISTS";
/// Processes live in the workspace.
pub const WORKSPACE_IN_USE: &str = "WORKSPACE_IN_USE";
/// The workspace is being removed.
pub const WORKSPACE_LEAVING: &str = "WORKSPACE_LEAVING";
/// There are as many workspaces as the server allows.
pub const TOO_MANY_WORKSPACES: &str = "TOO_MANY_WORKSPACES";
/// There is no such program.
pub const COMMAND_NOT_FOUND: &str = "COMMAND_NOT_FOUND";
/// The program may not be executed.
pub const COMMAND_NOT_EXECUTABLE: &str = "COMMAND_NOT_EXECUTABLE";
/// The program is there, and what it needs to run is not: an interpreter or a loader.
pub const INTERPRETER_NOT_FOUND: &str = "INTERPRETER_NOT_FOUND";
/// The file is not a program that the server's machine can execute, or can't be executed now.
pub const COMMAND_FAILED: &str = "COMMAND_FAILED";
/// The working directory can't be entered.
pub const WORKING_DIRECTORY: &str = "WORKING_DIRECTORY";
/// The new process failed before its program was executed, by no fault of the request.
pub const CHILD_SETUP_FAILED: &str = "CHILD_SETUP_FAILED";
/// A limit is above the server's ceiling.
pub const LIMIT_ABOVE_CEILING: &str = "LIMIT_ABOVE_CEILING";
/// The server's host can't enforce a limit.
pub const LIMIT_NOT_ENFORCEABLE: &str = "LIMIT_NOT_ENFORCEABLE";
/// The server keeps no output on disk.
pub const NO_OUTPUT_DISK: &str = "NO_OUTPUT_DISK";
/// The server's budget for output has not enough left to set aside.
pub const OUTPUT_BUDGET: &str = "OUTPUT_BUDGET";
/// As many processes run as the server allows.
pub const TOO_MANY_PROCESSES: &str = "TOO_MANY_PROCESSES";
/// The arguments of all processes that run are as long as the server remembers.
pub const ARGUMENTS_BUDGET: &str = "ARGUMENTS_BUDGET";
/// The folder of the working directories is gone from under the server.
pub const STATE_FOLDER_GONE: &str = "STATE_FOLDER_GONE";
/// As many connections are open as the server allows, in all or to this client.
pub const TOO_MANY_CONNECTIONS: &str = "TOO_MANY_CONNECTIONS";
/// As many output streams are open as the server allows, in all or of this process.
pub const TOO_MANY_SUBSCRIBERS: &str = "TOO_MANY_SUBSCRIBERS";
/// As many calls wait for the supervisor as the server allows.
pub const TOO_MANY_REQUESTS: &str = "TOO_MANY_REQUESTS";
/// As many calls of this client, or of all, wait for the end of processes as the server allows.
pub const TOO_MANY_WAITS: &str = "TOO_MANY_WAITS";
/// As many watches of this client, or of all, are open as the server allows.
pub const TOO_MANY_WATCHES: &str = "TOO_MANY_WATCHES";
/// A watch was told of changes too slowly to go on without its last cursor.
pub const WATCH_BEHIND: &str = "WATCH_BEHIND";
/// The machine has not enough of something to start a process.
pub const SERVER_RESOURCES: &str = "SERVER_RESOURCES";
/// The server is shutting down.
pub const DRAINING: &str = "DRAINING";
/// One half of the server is gone; the other restarts or ends.
pub const RESTARTING: &str = "RESTARTING";
/// Output was dropped before it could be sent.
pub const OUTPUT_LOST: &str = "OUTPUT_LOST";
/// The offset lies beyond the end of a finished output.
pub const OFFSET_BEYOND_END: &str = "OFFSET_BEYOND_END";
/// A request or response message is too large.
pub const MESSAGE_TOO_LARGE: &str = "MESSAGE_TOO_LARGE";
/// The call's own deadline has passed, or a stream's first message has not come in time.
pub const DEADLINE: &str = "DEADLINE";
/// The client did not take the response.
pub const NOT_TAKEN: &str = "NOT_TAKEN";
/// The request is not one of this API.
pub const UNKNOWN_METHOD: &str = "UNKNOWN_METHOD";
/// The request does not decode.
pub const MALFORMED_REQUEST: &str = "MALFORMED_REQUEST";
/// A fault of the server.
pub const INTERNAL: &str = "INTERNAL";
/// A process that is alive has the name.
pub const NAME_TAKEN: &str = "NAME_TAKEN";
/// The process's deadline has passed.
pub const DEADLINE_PASSED: &str = "DEADLINE_PASSED";
/// What would have started has another digest than the one that was expected.
pub const OTHER_DIGEST: &str = "OTHER_DIGEST";
/// The server takes only signed starts of this client.
pub const SIGNATURE_REQUIRED: &str = "SIGNATURE_REQUIRED";
/// And none of processes that are fed, which is not signed: nor is one fed that began before.
pub const SIGNATURE_INPUT: &str = "SIGNATURE_INPUT";
/// No client of the server's has the key that has signed.
pub const SIGNATURE_UNKNOWN_KEY: &str = "SIGNATURE_UNKNOWN_KEY";
/// The certificate has ended that the key is in.
pub const SIGNATURE_KEY_EXPIRED: &str = "SIGNATURE_KEY_EXPIRED";
/// What was signed is for another server, another run of it, or another fleet.
pub const SIGNATURE_OTHER_AUDIENCE: &str = "SIGNATURE_OTHER_AUDIENCE";
/// It is for a fleet, and begins before this run of the server.
pub const SIGNATURE_BEFORE_RUN: &str = "SIGNATURE_BEFORE_RUN";
/// It counts for longer than the server allows.
pub const SIGNATURE_WINDOW_TOO_LONG: &str = "SIGNATURE_WINDOW_TOO_LONG";
/// It does not count yet.
pub const SIGNATURE_NOT_YET: &str = "SIGNATURE_NOT_YET";
/// It counts no longer.
pub const SIGNATURE_EXPIRED: &str = "SIGNATURE_EXPIRED";
/// It is not the key's, or not of this start.
pub const SIGNATURE_INVALID: &str = "SIGNATURE_INVALID";
/// A signed start of this id was taken before.
pub const SIGNATURE_REPLAYED: &str = "SIGNATURE_REPLAYED";
/// As many signed starts are remembered as can be.
pub const SIGNATURE_TOO_MANY: &str = "SIGNATURE_TOO_MANY";
/// The process has ended.
pub const PROCESS_ENDED: &str = "PROCESS_ENDED";
/// The process has not ended.
pub const PROCESS_RUNNING: &str = "PROCESS_RUNNING";
/// The process takes more memory than it is to be limited to.
pub const MEMORY_IN_USE: &str = "MEMORY_IN_USE";
/// The process has no lease that could be renewed.
pub const NO_LEASE: &str = "NO_LEASE";
/// As many finished processes as can be are to be kept until they are removed.
pub const TOO_MANY_KEPT: &str = "TOO_MANY_KEPT";
/// The process would have more labels than there may be.
pub const TOO_MANY_LABELS: &str = "TOO_MANY_LABELS";
/// The server's kernel did not take a change of a process.
pub const NOT_CHANGED: &str = "NOT_CHANGED";
/// Another writer feeds the process's input.
pub const INPUT_IN_USE: &str = "INPUT_IN_USE";
/// The process's input has ended, and there is more of it.
pub const INPUT_ENDED: &str = "INPUT_ENDED";
/// How much of the process's input was taken is not known any more.
pub const INPUT_LOST: &str = "INPUT_LOST";
/// The offset lies beyond what was taken of the process's input, or before what another writer has
/// sent.
pub const INPUT_OFFSET: &str = "INPUT_OFFSET";
/// The same writer has opened another stream.
pub const INPUT_TAKEN_OVER: &str = "INPUT_TAKEN_OVER";
/// The stream's data waits for its process while the connection brings much else: to be tried
/// again, on another connection.
pub const INPUT_STALLED: &str = "INPUT_STALLED";
/// The process was started without standard input.
pub const NO_INPUT: &str = "NO_INPUT";
/// The process was started without a terminal, or has ended.
pub const NO_TERMINAL: &str = "NO_TERMINAL";
/// As many streams of input are open as the server allows, in all, to this client or on this
/// connection.
pub const TOO_MANY_INPUTS: &str = "TOO_MANY_INPUTS";

/// Keys of `ErrorInfo.metadata`, each with what its value is.
pub mod metadata {
    /// Name of a field of `Limits` or of the start request, or of a flag of `prn server start`.
    pub const LIMIT: &str = "limit";
    /// The digest of what would have started.
    pub const DIGEST: &str = "digest";
    /// The server's most of that limit.
    pub const CEILING: &str = "ceiling";
    /// What the policy does not allow: start, stop, signal, output, input, list, workspace, admin.
    pub const VERB: &str = "verb";
    /// How many there may be.
    pub const MAX: &str = "max";
    /// How many are held by what ended processes left.
    pub const HELD: &str = "held";
    /// How many bytes are left.
    pub const LEFT: &str = "left";
    /// What the new process was at when it failed.
    pub const EXEC_STEP: &str = "exec_step";
    /// The errno that it got, as a number.
    pub const EXEC_ERRNO: &str = "exec_errno";
    /// How a program that is not there was looked up: `path`, or `PATH` along that variable.
    pub const LOOKUP: &str = "lookup";
    /// What the server was at before there was a new process.
    pub const PREPARATION: &str = "preparation";
    /// How many bytes were dropped.
    pub const BYTES: &str = "bytes";
    /// Offset just after the output's last byte.
    pub const END_OFFSET: &str = "end_offset";
    /// Name of the workspace.
    pub const WORKSPACE: &str = "workspace";
    /// Name of the process.
    pub const NAME: &str = "name";
    /// Id of a process.
    pub const ID: &str = "id";
    /// How many bytes are in use.
    pub const USED: &str = "used";
    /// How many processes a call had removed before it was refused.
    pub const REMOVED: &str = "removed";
    /// How many processes live in it.
    pub const PROCESSES: &str = "processes";
    /// How many bytes of the process's input were ever taken.
    pub const TAKEN: &str = "taken";
}
