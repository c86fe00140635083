//! The placement of someone who knows the demand: which models each server holds for ever.

use super::world::{MODELS, RESIDENT, SERVERS};

/// The models of each server: a local search over swaps finds placements whose p99 is up to 8 % lower at one
/// utilisation, at the price of another. Copies go one at a time to the model with the most demand per copy (every model has
/// one), then copies, largest share first, to the server with the least expected work that has room.
pub(crate) fn assign(popularity: &[f64]) -> Vec<Vec<usize>> {
    let mut copies = [1_usize; MODELS];
    for _ in MODELS..SERVERS * RESIDENT {
        let neediest = (0..MODELS)
            .filter(|&model| copies[model] < SERVERS)
            .max_by(|&a, &b| {
                (popularity[a] / copies[a] as f64).total_cmp(&(popularity[b] / copies[b] as f64))
            })
            .expect("there are more servers than places for one model");
        copies[neediest] += 1;
    }
    let mut shares: Vec<(usize, f64)> = (0..MODELS)
        .flat_map(|model| (0..copies[model]).map(move |_| model))
        .map(|model| (model, popularity[model] / copies[model] as f64))
        .collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut servers = vec![Vec::new(); SERVERS];
    let mut work = [0.0_f64; SERVERS];
    for (model, share) in shares {
        let server = (0..SERVERS)
            .filter(|&server| servers[server].len() < RESIDENT && !servers[server].contains(&model))
            .min_by(|&a, &b| work[a].total_cmp(&work[b]))
            .expect("places and copies are equally many, and the rarest come last");
        servers[server].push(model);
        work[server] += share;
    }
    servers
}
