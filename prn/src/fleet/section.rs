//! A fleet's table in the user's configuration, [fleet.NAME].

use std::path::Path;

use prn_proto::units::Address;
use toml_edit::{Array, Item, Table, value};

use super::error::SetupError;
use super::fault::FleetFault;
use crate::context::config::Place;
use crate::context::edit::change;
use crate::failure::Failure;

/// The table that all fleets are in.
const FLEETS: &str = "fleet";

/// What is written.
#[derive(Debug)]
pub struct Section<'a> {
    /// The fleet.
    pub name: &'a str,
    /// The members of its etcd.
    pub store: &'a [Address],
    /// The certificate of the authority that signs theirs.
    pub authority: &'a Path,
    /// The user's own.
    pub certificate: &'a Path,
    /// Its key.
    pub key: &'a Path,
}

impl Section<'_> {
    /// Whether it is there with this certificate and key.
    ///
    /// # Errors
    /// The configuration is refused.
    pub fn is_known(&self, place: &Place) -> Result<bool, Failure> {
        let config = place.load()?;
        let known = config.fleets.get(self.name);
        let is = |text: &Option<String>, path: &Path| {
            text.as_ref().is_some_and(|text| Path::new(text) == path)
        };
        Ok(known.is_some_and(|known| {
            is(&known.client_cert, self.certificate) && is(&known.tls_key, self.key)
        }))
    }
}

/// Whether nothing is written of the fleet yet.
///
/// # Errors
/// It is: [`SetupError::Known`]; or the configuration is refused.
pub fn is_new(place: &Place, name: &str) -> Result<(), Failure> {
    if place.load()?.fleets.contains_key(name) {
        return Err(FleetFault::from(SetupError::Known(name.to_owned())).into());
    }
    Ok(())
}

/// Writes it.
///
/// # Errors
/// The configuration is refused, or cannot be written.
pub fn add(place: &Place, section: &Section<'_>) -> Result<(), Failure> {
    let store: Array = section
        .store
        .iter()
        .map(|member| member.0.as_str())
        .collect();
    let path = |path: &Path| value(path.display().to_string());
    let mut table = Table::new();
    table.insert("store", value(store));
    table.insert("store-ca", path(section.authority));
    table.insert("client-cert", path(section.certificate));
    table.insert("tls-key", path(section.key));
    change(place, |document| {
        let mut implicit = Table::new();
        implicit.set_implicit(true);
        let fleets = document.entry(FLEETS).or_insert(Item::Table(implicit));
        if let Some(fleets) = fleets.as_table_like_mut() {
            fleets.insert(section.name, Item::Table(table));
        }
        Ok(())
    })?;
    Ok(())
}
