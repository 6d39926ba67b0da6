//! What prn's unprivileged services have in common: `prn-exporter` and `prn-agent`.

pub mod log;
