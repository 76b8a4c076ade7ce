//! The command line of `causeway-lab`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use causeway_bridge::config::PacingConfig;
use clap::Parser;

use super::measure;
use super::{document, scenarios};

/// Runs a conference over emulated links, in simulated time, and tells what its receivers get.
#[derive(Debug, Parser)]
#[command(name = "causeway-lab", version)]
struct Cli {
    /// Only scenarios with these names
    scenarios: Vec<String>,
    /// Another course of everything that is random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Document whose table is replaced; pictures are put beside it
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
    /// Multiple of the estimate at which video leaves; without it, as it comes
    #[arg(long, value_name = "FACTOR")]
    pacing: Option<f64>,
    /// ms whose share of that rate may leave at once
    #[arg(long, value_name = "MS")]
    burst: Option<u64>,
    /// Folder for a table of every moment of each scenario
    #[arg(long, value_name = "FOLDER")]
    traces: Option<PathBuf>,
}

/// Runs what the command line of the process says.
pub fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("causeway-lab: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<(), String> {
    let mut wanted = scenarios::all();
    let known: Vec<_> = wanted.iter().map(|scenario| scenario.name).collect();
    if let Some(unknown) = cli
        .scenarios
        .iter()
        .find(|name| !known.contains(&name.as_str()))
    {
        return Err(format!(
            "no scenario is called {unknown}: {}",
            known.join(", ")
        ));
    }
    wanted.retain(|scenario| {
        cli.scenarios.is_empty() || cli.scenarios.iter().any(|name| name == scenario.name)
    });
    let mut pacing = PacingConfig::default();
    pacing.factor = cli.pacing.unwrap_or(pacing.factor);
    pacing.burst = cli.burst.map_or(pacing.burst, Duration::from_millis);
    let mut results = Vec::new();
    for scenario in wanted {
        eprintln!("{}: {}", scenario.name, scenario.what);
        let outcome = measure::run(&scenario, cli.seed, pacing);
        if let Some(folder) = &cli.traces {
            let file = folder.join(format!("{}.csv", scenario.name));
            std::fs::write(&file, document::trace(&outcome))
                .map_err(|error| format!("{}: {error}", file.display()))?;
        }
        results.push((scenario, outcome));
    }
    print!("{}", document::table(results.iter()));
    if let Some(file) = &cli.into {
        document::write(file, &results)?;
    }
    let broken = results.iter().filter_map(|(scenario, outcome)| {
        let broken = scenario.bounds.broken_by(outcome);
        (!broken.is_empty()).then(|| format!("{}: {}", scenario.name, broken.join(", ")))
    });
    let broken: Vec<String> = broken.collect();
    match broken.is_empty() {
        true => Ok(()),
        false => Err(format!("bounds were not kept: {}", broken.join("; "))),
    }
}
