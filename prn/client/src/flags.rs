//! Values of flags, as people write them, in the units of the API.

use std::time::{Duration, SystemTime};

use prn_proto::units::{
    Cpu, Deadline, Digest, Directory, InvalidUnit, Label, ProcessName, Size, Time, UserName,
    Workspace,
};

pub(crate) fn size(text: &str) -> Result<u64, InvalidUnit> {
    text.parse().map(|Size(bytes)| bytes)
}

pub(crate) fn cpu(text: &str) -> Result<u64, InvalidUnit> {
    text.parse().map(|Cpu(millis)| millis)
}

pub(crate) fn time(text: &str) -> Result<Duration, InvalidUnit> {
    text.parse().map(|Time(span)| span)
}

pub(crate) fn workspace(text: &str) -> Result<String, InvalidUnit> {
    text.parse().map(|Workspace(name)| name)
}

pub(crate) fn directory(text: &str) -> Result<String, InvalidUnit> {
    text.parse().map(|Directory(path)| path)
}

pub(crate) fn deadline(text: &str) -> Result<SystemTime, InvalidUnit> {
    text.parse().map(|Deadline(time)| time)
}

pub(crate) fn label(text: &str) -> Result<Label, InvalidUnit> {
    Label::of_user(text)
}

pub(crate) fn digest(text: &str) -> Result<String, InvalidUnit> {
    text.parse().map(|Digest(digits)| digits)
}

pub(crate) fn user(text: &str) -> Result<String, InvalidUnit> {
    text.parse().map(|UserName(name)| name)
}

pub(crate) fn process_name(text: &str) -> Result<String, InvalidUnit> {
    text.parse().map(|ProcessName(name)| name)
}
