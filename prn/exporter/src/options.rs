//! The flags, which are those of `prn exporter` but for contexts, which that finds.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::builder::{OsStringValueParser, TypedValueParser};
use prn_client::credentials::{
    CertificateSource, Credentials, CredentialsError, KeyFingerprint, KeySource, ServerSource,
};
use prn_proto::defaults::ADDRESS;
use prn_proto::units::{Address, InvalidUnit, LABEL_KEY_MAX, Label, Time};

use crate::collector::Collector;
use crate::listen::Listen;

/// Most processes that are looked at one by one, which is most of an answer of GetUsage.
const PROCESSES_MAX: i64 = 1000;

/// Serve what a prn server does to Prometheus
///
/// A client that only looks: give it a certificate of its own and a role that may list, and nothing
/// else. `prn exporter` runs it, and finds the server by contexts as well.
#[derive(Debug, Parser)]
#[command(name = "prn-exporter", version, max_term_width = 100)]
pub struct Options {
    /// Where Prometheus asks for /metrics. unix:/PATH is a socket that this user and its group may
    /// connect to
    #[arg(
        long,
        value_name = "HOST:PORT|unix:PATH",
        default_value = "127.0.0.1:9464"
    )]
    pub listen: Listen,
    /// Listen on an address that other machines reach, too. They are not asked who they are
    #[arg(long)]
    pub allow_remote: bool,
    /// Processes that are told apart, the newest of those that run. 0: none, the server's numbers
    /// alone
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=PROCESSES_MAX))]
    pub processes_max: u32,
    /// A label of processes that their metrics get as well, as label_KEY. Repeatable, or a list
    #[arg(long, value_name = "KEY", value_delimiter = ',', value_parser = parse_label_key)]
    pub label_key: Vec<String>,
    /// Most time for an answer, of which the server's is a part
    #[arg(long, value_name = "TIME", default_value = "8s", value_parser = parse_time)]
    pub scrape_timeout: Duration,
    /// A collector of OpenTelemetry that traces and metrics are pushed to, by OTLP over gRPC
    /// without TLS: http://127.0.0.1:4317
    #[arg(long, value_name = "URL")]
    pub otlp: Option<Collector>,
    /// How often metrics are pushed
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    pub otlp_interval: Duration,
    /// Where the server listens
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "PRN_ADDRESS",
        default_value = ADDRESS
    )]
    pub address: Address,
    /// The exporter's own certificate (PEM)
    #[arg(
        long,
        value_name = "FILE",
        env = "PRN_CLIENT_CERT",
        required_unless_present = "client_cert_text"
    )]
    client_cert: Option<PathBuf>,
    /// The same as text
    #[arg(long, value_name = "PEM", conflicts_with = "client_cert")]
    client_cert_text: Option<String>,
    /// The server's certificate (PEM). Repeatable
    #[arg(long, value_name = "FILE", env = "PRN_SERVER_CERT")]
    server_cert: Vec<PathBuf>,
    /// The same as text. Repeatable
    #[arg(long, value_name = "PEM")]
    server_cert_text: Vec<String>,
    /// Or its key's fingerprint (SHA256:…). Repeatable
    #[arg(long, value_name = "FINGERPRINT")]
    server_fingerprint: Vec<KeyFingerprint>,
    /// Or the certificate (PEM) of an authority that signs the server's. Repeatable
    #[arg(long, value_name = "FILE")]
    server_ca: Vec<PathBuf>,
    /// The same as text. Repeatable
    #[arg(long, value_name = "PEM")]
    server_ca_text: Vec<String>,
    /// The server's name in a certificate that --server-ca has signed [default: the host of the
    /// address]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// The exporter's private key (PKCS#8, PEM): a file, credential:NAME, keyring:NAME or
    /// pkcs11:URI. Without it: the text in PRN_TLS_KEY, else what PRN_TLS_KEY_FILE names
    #[arg(long, value_name = "FILE", value_parser = key_source())]
    tls_key: Option<KeySource>,
    /// A word of the command that prints it, as `prn exporter` finds it in a context. Repeatable
    #[arg(long, value_name = "WORD", hide = true, conflicts_with = "tls_key")]
    key_command: Vec<String>,
}

fn parse_label_key(text: &str) -> Result<String, String> {
    // A key may have no equals sign, which would end it here.
    match format!("{text}=").parse::<Label>() {
        Ok(Label { key, value }) if value.is_empty() => Ok(key),
        Ok(_) => Err("a key alone, without a value".to_owned()),
        Err(_) => Err(format!(
            "no label has such a key: 1 to {LABEL_KEY_MAX} letters, digits, '-', '_', '.' and '/', first a letter or a digit"
        )),
    }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let time: Time = text
        .parse()
        .map_err(|error: InvalidUnit| error.to_string())?;
    if time.0.is_zero() {
        return Err("no answer comes in no time: write 500ms, 10s or 1m".to_owned());
    }
    Ok(time.0)
}

impl Options {
    /// What no flag alone can be checked for.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub fn check(&self) -> Result<(), String> {
        if let Listen::Tcp(address) = self.listen
            && !address.ip().is_loopback()
            && !self.allow_remote
        {
            return Err(format!(
                "{} is reached by other machines, and who asks there is not asked who they are: listen on 127.0.0.1, or say --allow-remote",
                address
            ));
        }
        Ok(())
    }

    /// Certificates and the key.
    ///
    /// # Errors
    /// One of them is missing or refused.
    pub fn credentials(&self) -> Result<Credentials, CredentialsError> {
        let files = |paths: &[PathBuf]| -> Vec<_> {
            paths.iter().cloned().map(CertificateSource::File).collect()
        };
        let mut certificates: Vec<_> = files(&self.server_cert);
        let texts = self.server_cert_text.iter();
        certificates.extend(texts.map(|pem| text(pem, "of --server-cert-text")));
        let mut authorities: Vec<_> = files(&self.server_ca);
        let texts = self.server_ca_text.iter();
        authorities.extend(texts.map(|pem| text(pem, "of --server-ca-text")));
        let (host, _) = self.address.parts();
        let server = ServerSource {
            certificates,
            fingerprints: self.server_fingerprint.clone(),
            authorities,
            name: self.server_name.clone().unwrap_or_else(|| host.to_owned()),
        };
        let own = match (&self.client_cert, &self.client_cert_text) {
            (Some(path), _) => CertificateSource::File(path.clone()),
            (None, pem) => text(pem.as_deref().unwrap_or_default(), "of --client-cert-text"),
        };
        let command = Some(self.key_command.clone()).filter(|words| !words.is_empty());
        let key = self.tls_key.clone().or(command.map(KeySource::Command));
        Credentials::find(&own, &KeySource::find(key)?, &server)
    }
}

/// Where a key is, as a flag says it.
fn key_source() -> impl TypedValueParser<Value = KeySource> {
    OsStringValueParser::new().try_map(KeySource::try_from)
}

fn text(pem: &str, name: &str) -> CertificateSource {
    CertificateSource::Text {
        pem: pem.to_owned(),
        name: name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options, clap::Error> {
        Options::try_parse_from([&["prn-exporter"], words].concat())
    }

    #[test]
    fn other_machines_are_served_only_where_that_is_said() {
        let parse = |words: &[&str]| parse(&[&["--client-cert", "c"], words].concat());
        assert!(parse(&[]).unwrap().check().is_ok());
        let open = parse(&["--listen", "0.0.0.0:9464"]).unwrap();
        assert!(open.check().unwrap_err().contains("--allow-remote"));
        let open = parse(&["--listen", "[::]:9464", "--allow-remote"]).unwrap();
        assert!(open.check().is_ok());
        let socket = parse(&["--listen", "unix:/run/x.sock"]).unwrap();
        assert!(socket.check().is_ok());
        assert_eq!(socket.listen, Listen::Unix("/run/x.sock".into()));
        assert!(parse(&["--listen", "unix:x.sock"]).is_err());
        assert!(parse(&["--listen", "localhost"]).is_err());
    }

    #[test]
    fn keys_of_labels_are_a_list_or_given_one_by_one() {
        let parse = |words: &[&str]| parse(&[&["--client-cert", "c"], words].concat());
        let options = parse(&["--label-key", "a,b", "--label-key", "c"]).unwrap();
        assert_eq!(options.label_key, ["a", "b", "c"]);
        for bad in ["bad key", "", "a=b", ".a", "a,,b"] {
            assert!(parse(&["--label-key", bad]).is_err(), "{bad}");
        }
        assert!(parse(&["--processes-max", "1001"]).is_err());
        assert!(parse(&["--scrape-timeout", "0s"]).is_err());
    }

    #[test]
    fn a_certificate_is_missed_by_its_flag_and_a_bad_one_is_named_by_its_own() {
        let missed = parse(&[]).unwrap_err().to_string();
        assert!(missed.contains("--client-cert <FILE>"), "{missed}");
        let words = ["--client-cert-text", "x", "--tls-key", "/nowhere"];
        let bad = parse(&words).unwrap().credentials().unwrap_err();
        assert!(bad.to_string().contains("--client-cert-text"), "{bad}");
    }
}
