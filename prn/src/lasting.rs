//! What goes on when a connection is lost: reading, waiting, watching, feeding, and calls that are
//! tried again.

pub mod changes;
pub mod excerpt;
pub mod feeding;
pub mod following;
pub mod known;
pub mod passing;
pub mod reading;
pub mod several;
pub mod skew;
pub mod spread;
pub mod surely;
pub mod wait;
pub mod waiting;
pub mod watching;
