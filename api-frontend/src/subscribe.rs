//! Output for subscribers: replay and live are the same read at a cursor.
//!
//! A process's [`hub::Hub`] opens its output once, when the first subscriber comes, and closes it
//! when the last one goes. A [`subscription::Subscription`] is a cursor and no buffer: its client's
//! HTTP/2 window pulls the next chunk, so a stalled client costs nothing and delays nobody. Nothing
//! polls: while somebody waits at the end, one Watch is armed at the supervisor, whose event wakes
//! those who wait.
//!
//! - [`seek`]: where a stream begins and ends that was asked for by time or by its tail, which [`runs`] counts.
//! - [`subscription`]: one client's stream of frames, by way of [`chunks`].
//! - [`hub`]: what the subscribers of one process share; [`readers`]: how far they are; [`seat`]:
//!   one of them.
//! - [`keeper`]: one who keeps the process's lease, among its [`keepers`].
//! - [`body`]: frames on their way to HTTP/2.

pub mod body;
pub mod chunks;
pub mod hub;
pub mod keeper;
pub mod keepers;
pub mod readers;
pub mod runs;
pub mod seat;
pub mod seek;
pub mod subscription;
