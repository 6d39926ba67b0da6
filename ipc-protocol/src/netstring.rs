//! Canonical bytes that another language writes in a few lines: a header, then one field after the
//! other, each under its name and with its length before it, so that two different values never
//! have the same bytes. Pure; what is signed or digested is in this form (docs/digest.md).

/// Writes fields in the order in which they are given.
#[derive(Debug)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Begins with a line that names the form and its version.
    pub fn new(header: &str) -> Self {
        let mut bytes = Vec::with_capacity(1024);
        bytes.extend_from_slice(header.as_bytes());
        bytes.push(b'\n');
        Self(bytes)
    }

    /// `name length:bytes`, and a line feed.
    pub fn text(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.name(name);
        self.netstring(value.as_ref());
    }

    /// The same, or `name -` for none.
    pub fn optional(&mut self, name: &str, value: Option<impl AsRef<[u8]>>) {
        self.name(name);
        match value {
            Some(value) => self.netstring(value.as_ref()),
            None => self.0.extend_from_slice(b"-\n"),
        }
    }

    /// `yes` or `no`, as a text.
    pub fn switch(&mut self, name: &str, is_on: bool) {
        self.text(name, if is_on { "yes" } else { "no" });
    }

    /// `name *count`, and a line feed; then each item, `length:bytes` and a line feed.
    pub fn list<T: AsRef<[u8]>>(&mut self, name: &str, items: impl Iterator<Item = T>) {
        let items: Vec<T> = items.collect();
        self.name(name);
        self.0
            .extend_from_slice(format!("*{}\n", items.len()).as_bytes());
        for item in items {
            self.netstring(item.as_ref());
        }
    }

    /// All of it.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    fn name(&mut self, name: &str) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b' ');
    }

    fn netstring(&mut self, value: &[u8]) {
        let length = format!("{}:", value.len());
        self.0.extend_from_slice(length.as_bytes());
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }
}
