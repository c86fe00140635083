//! `remuda key`: a fresh client key, and its SHA-256 for the configuration.

use std::io::{self, Write};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use rand::RngCore as _;
use rand::rngs::OsRng;

use crate::settings::KeyDigest;

/// Bytes of randomness: as many as the digest has.
const RANDOM: usize = 32;

/// Print a fresh client key and its SHA-256
///
/// Give the client the key; the configuration may hold either of the two.
#[derive(Args)]
pub(super) struct KeyArgs {}

pub(super) fn run(_: &KeyArgs) -> ExitCode {
    let mut random = [0; RANDOM];
    if let Err(error) = OsRng.try_fill_bytes(&mut random) {
        eprintln!("remuda key: the system gives no random bytes: {error}");
        return ExitCode::FAILURE;
    }
    // The prefix lets scanners for leaked secrets find it.
    let key = format!("rmd-{}", URL_SAFE_NO_PAD.encode(random));
    let digest = KeyDigest::of(key.as_bytes());
    let printed = writeln!(io::stdout().lock(), "key: {key}\nkey_sha256: {digest}");
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("remuda key: {error}");
            ExitCode::FAILURE
        }
    }
}
