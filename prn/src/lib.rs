//! Client library for prn, a remote process runner: start a command on another Linux machine,
//! leave, come back from anywhere, read all of its output, know exactly how it ended, and stop all
//! of it.
//!
//! - [`client`]: a connection, and the five calls on it.
//! - [`credentials`]: certificates and keys from files and the environment.
//!
//! The server is reached over TLS 1.3. Each side has one self-signed Ed25519 certificate, and pins
//! that of the other: no name and no authority is involved. `prn keygen` makes them.
//!
//! ```no_run
//! use prn::client::{Client, Event, OutputRequest, StartSpec};
//! use prn::credentials::{Credentials, KeySource};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let key = KeySource::File("client.key".into());
//! let credentials = Credentials::load("client.pem".as_ref(), &key, "server.pem".as_ref())?;
//! let client = Client::connect("127.0.0.1:50051", &credentials).await?;
//!
//! let started = client.start(&StartSpec::new(["uname", "-a"])).await?;
//! let mut output = client.output(started.process.id, OutputRequest::default()).await?;
//! while let Some(event) = output.next().await? {
//!     match event {
//!         Event::Data { data, .. } => println!("{} bytes", data.len()),
//!         Event::Gap { from, to } => println!("bytes {from}..{to} were dropped"),
//!         Event::End(end) => println!("{:?}", end.exit),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

pub mod client;
pub mod credentials;
