//! The processes that prn itself starts for a moment (`prn cp`, `prn run --sync`, the files of `prn mcp`).

use prn_client::{ClientError, Label, OutputPolicy, StartSpec, mint_id};
use prn_proto::units::Variable;

/// Label of them, by which lists leave them out.
pub const INTERNAL: &str = "prn.io/internal";

/// A script for sh(1), and its arguments.
#[derive(Debug)]
pub struct Script {
    /// What it is called, its `$0`.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
    /// What `$1` is, and so on.
    pub arguments: Vec<String>,
}

impl Script {
    /// The process that runs it in a workspace, and loses no output while it is followed.
    ///
    /// # Errors
    /// If there is no randomness for its id.
    pub fn spec(self, workspace: &str) -> Result<StartSpec, ClientError> {
        // A list of processes is to be read by people: it has no room for a script.
        let mut spec = StartSpec::new(["sh", "-c", "eval \"$PRN_SCRIPT\"", self.name]);
        spec.argv.extend(self.arguments);
        let variables = [
            ("PRN_SCRIPT", format!("unset PRN_SCRIPT\n{}", self.text)),
            // Names are bytes to it, and messages are English.
            ("LC_ALL", "C".to_owned()),
        ];
        spec.environment = variables
            .map(|(name, value)| Variable {
                name: name.to_owned(),
                value,
            })
            .into();
        spec.workspace = Some(workspace.to_owned());
        spec.labels.push(Label {
            key: INTERNAL.to_owned(),
            value: self.name.to_owned(),
        });
        spec.id = Some(mint_id()?);
        spec.output_policy = Some(OutputPolicy::Follow);
        Ok(spec)
    }
}
