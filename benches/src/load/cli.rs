//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use causeway_bridge::srtp::Profile;
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::beside;
use super::capacity::{self, Bounds, Verdict};
use super::channel::Channel;
use super::codec::Codec;
use super::compare;
use super::figures;
use super::flood::Flood;
use super::floor;
use super::floor_run;
use super::formats::Picture;
use super::html;
use super::line::LineConfig;
use super::plan::{Plan, Scale, Scenario};
use super::process::{self, Daemon, DaemonOptions};
use super::report::{FORMAT, Floor, Report};
use super::run::{self, Options, Outcome};
use super::table;

/// Puts load on a bridge that speaks Colibri2 over REST, and measures what it does and costs.
#[derive(Debug, Parser)]
#[command(name = "causeway-load", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario once
    Run(RunArguments),
    /// Run a scenario through a Causeway that is started here and through the floor, the least that forwarding could cost on
    /// this machine, and tell the multiple
    Ratio(RatioArguments),
    /// Show two reports side by side
    Compare {
        /// What --json wrote
        a: PathBuf,
        /// What --json wrote later, or for another bridge
        b: PathBuf,
    },
    /// Put the same loads on another bridge that runs already and on a Causeway that is started here, in turn, and tell what each costs
    Beside(BesideArguments),
    /// Raise the load of a scenario until quality breaks, and tell how much was good
    FindCapacity(CapacityArguments),
    /// Measure all scenarios, and write the table of docs/performance.md
    Figures(FiguresArguments),
    /// Be the floor: receive, open, seal for each receiver and send, as a file says (ratio starts it)
    Floor {
        /// What ratio wrote
        routes: PathBuf,
    },
}

#[derive(Clone, Debug, Args)]
struct RunArguments {
    /// What participants do
    scenario: Scenario,
    #[command(flatten)]
    target: TargetArguments,
    #[command(flatten)]
    load: LoadArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Args)]
struct RatioArguments {
    #[command(flatten)]
    run: RunArguments,
    /// Times that both are run, in turn
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=20))]
    rounds: u16,
}

#[derive(Debug, Args)]
struct CapacityArguments {
    #[command(flatten)]
    run: RunArguments,
    /// Largest size that is tried
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    most: u32,
    /// Begin no further run after so many minutes
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=240))]
    minutes: u64,
    /// Good: not more percent of the packets are lost
    #[arg(long, default_value_t = 0.1, value_parser = finite)]
    max_lost: f64,
    /// Good: 99 of 100 packets take not more ms
    #[arg(long, default_value_t = 50.0, value_parser = finite)]
    max_latency: f64,
    /// Good: video stands still for not more percent of the time
    #[arg(long, default_value_t = 1.0, value_parser = finite)]
    max_frozen: f64,
    /// If the generator itself is later than so many ms, a run says nothing
    #[arg(long, default_value_t = 25.0, value_parser = finite)]
    max_lag: f64,
}

#[derive(Debug, Args)]
struct BesideArguments {
    /// Control API of the other bridge, such as http://127.0.0.1:8080
    #[arg(long, value_name = "URL")]
    rest: String,
    /// Its process, for its CPU time and memory
    #[arg(long)]
    pid: u32,
    /// ws://HOST:PORT of its bridge channels, instead of what it advertises
    #[arg(long, value_name = "URL")]
    websocket: Option<String>,
    /// Program to start for the Causeway, if not the one beside this one
    #[arg(long, value_name = "FILE")]
    daemon: Option<PathBuf>,
    /// Cores of the Causeway, as for taskset: give the other bridge the same
    #[arg(long, value_name = "LIST")]
    cpus: Option<String>,
    /// What the other one is called in the table, with its version
    #[arg(long, default_value = "the other bridge")]
    name: String,
    /// Seconds of each load on the other bridge before it is first measured: a virtual machine compiles what is used often
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    warm: u64,
    /// Seconds to measure each load, each time
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Factor for the sizes of all loads
    #[arg(long, default_value_t = 1.0, value_parser = finite)]
    scale: f64,
    /// Times that both are measured, in turn
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=20))]
    rounds: u16,
    /// Document whose table is replaced
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
    /// Folder for the reports of all runs
    #[arg(long, value_name = "FOLDER")]
    reports: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct FiguresArguments {
    #[command(flatten)]
    target: TargetArguments,
    /// Seconds to measure each scenario
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Factor for the sizes of all scenarios
    #[arg(long, default_value_t = 1.0, value_parser = finite)]
    scale: f64,
    /// Times that bridge and floor are run in turn
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=20))]
    rounds: u16,
    /// Document whose table is replaced; the charts are put beside it
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
    /// Folder for the report of every scenario, as JSON and as a page
    #[arg(long, value_name = "FOLDER")]
    reports: Option<PathBuf>,
    /// Take the reports that are in that folder, and measure only what is not
    #[arg(long, requires = "reports")]
    resume: bool,
}

/// The bridge under test.
#[derive(Clone, Debug, Default, Args)]
struct TargetArguments {
    /// Control API of a bridge that runs already, such as http://127.0.0.1:8080; otherwise a Causeway is started here
    #[arg(long, value_name = "URL")]
    rest: Option<String>,
    /// Process of that bridge, for its CPU time and memory
    #[arg(long, requires = "rest")]
    pid: Option<u32>,
    /// ws://HOST:PORT of its bridge channels, instead of what it advertises
    #[arg(long, value_name = "URL", requires = "rest")]
    websocket: Option<String>,
    /// Program to start, if not the causeway beside this one
    #[arg(long, value_name = "FILE", conflicts_with = "rest")]
    daemon: Option<PathBuf>,
    /// Line for the configuration of the daemon that is started; may be given several times
    #[arg(long, value_name = "LINE", conflicts_with = "rest")]
    config: Vec<String>,
    /// Cores of the daemon that is started, as for taskset: 0 or 0-3
    #[arg(long, value_name = "LIST", conflicts_with = "rest")]
    cpus: Option<String>,
    /// Worker threads of the daemon that is started, if not one for each core
    #[arg(long, value_name = "N", conflicts_with = "rest")]
    workers: Option<u16>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Srtp {
    /// AES-128-GCM
    Gcm,
    /// AES-128-CM with HMAC-SHA1-80
    Cm,
}

/// The load.
#[derive(Clone, Debug, Args)]
struct LoadArguments {
    /// Participants (of each meeting, where there are several)
    #[arg(long)]
    size: Option<u32>,
    /// Meetings, or participants who share their screen
    #[arg(long)]
    count: Option<u32>,
    /// Factor for sizes that are not given, for small machines
    #[arg(long, value_parser = finite)]
    scale: Option<f64>,
    /// Seconds to measure
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: Option<u64>,
    /// Seconds from the last join to the measurement
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(0..=600))]
    warmup: u64,
    /// Codec of cameras and screens, and how its layers are sent
    #[arg(long, value_enum, default_value = "vp8")]
    codec: Codec,
    /// SRTP profile that clients offer
    #[arg(long, value_enum, default_value = "gcm")]
    srtp: Srtp,
    /// Clients take rewritten SSRCs
    #[arg(long)]
    ssrc_rewriting: bool,
    /// What bridge channels run over
    #[arg(long, value_enum, default_value = "websocket")]
    channel: Channel,
    /// Percent of the datagrams that lines of clients lose, each way
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT", value_parser = finite)]
    loss: f64,
    /// ms that lines of clients take, each way
    #[arg(long, default_value_t = 0.0, value_name = "MS", value_parser = finite)]
    delay: f64,
    /// Participants speak in turn, each so many seconds, and all see the speaker on stage (meetings, large)
    #[arg(long, value_name = "SECONDS", value_parser = finite)]
    turns: Option<f64>,
    /// So many participants leave and join again per second
    #[arg(long, value_name = "PER SECOND", value_parser = finite)]
    churn: Option<f64>,
    /// Spread the packets of a frame over so many ms, as paced senders do
    #[arg(long, default_value_t = 0.0, value_parser = finite)]
    spread: f64,
    /// Let the kernel merge what clients receive: cheaper for both sides
    #[arg(long)]
    gro: bool,
    /// Send what an attacker would meanwhile: KIND or KIND=DATAGRAMS-PER-SECOND, with KIND one of garbage, stun, srtp, hello, own-hello
    #[arg(long, value_name = "KIND")]
    flood: Option<Flood>,
    /// Threads for media
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
}

/// What is written.
#[derive(Clone, Debug, Args)]
struct OutputArguments {
    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write figures and charts to this file, one page that needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print no line every second
    #[arg(long)]
    quiet: bool,
}

/// Runs what the command line of the process says.
pub fn main() -> ExitCode {
    match Cli::parse().execute() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("causeway-load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what `arguments` say, the name of the program first, as a shell would.
///
/// # Errors
/// A text for people.
pub fn run(arguments: &[&str]) -> Result<ExitCode, String> {
    let cli = Cli::try_parse_from(arguments).map_err(|error| error.to_string())?;
    cli.execute()
}

impl Cli {
    fn execute(self) -> Result<ExitCode, String> {
        match self.command {
            Command::Run(arguments) => {
                let report = once(&arguments)?;
                arguments.output.write(&report)?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Ratio(arguments) => {
                let report = ratio(&arguments)?;
                arguments.run.output.write(&report)?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Compare { a, b } => {
                print!("{}", compare::table(&read(&a)?, &read(&b)?));
                Ok(ExitCode::SUCCESS)
            }
            Command::Beside(arguments) => measure_beside(&arguments),
            Command::FindCapacity(arguments) => find_capacity(&arguments),
            Command::Figures(arguments) => measure_figures(&arguments),
            Command::Floor { routes } => {
                let address = process::local_address().map_err(|error| error.to_string())?;
                floor::run(&routes, (address, 0).into())?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

impl RunArguments {
    fn plan(&self) -> Plan {
        self.load.plan(self.scenario, &self.load.scale())
    }

    /// Puts the load of the plan on the bridge once.
    fn measure(&self, plan: &Plan) -> Result<(Options, Outcome), String> {
        let target = self.target.start()?;
        let options = self.load.options(&self.output, self.scenario, &target);
        let mut outcome = run::run(&options, plan)?;
        outcome.report.process.ready_ms = target.ready_ms();
        Ok((options, outcome))
    }
}

/// A number that can be reckoned with.
fn finite(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number.is_finite() {
        Ok(number)
    } else {
        Err("not a finite number".to_owned())
    }
}

/// A time that a person gave, within reason.
fn seconds(time: f64) -> Duration {
    Duration::from_secs_f64(time.clamp(0.001, 86_400.0))
}

/// Runs a scenario once.
fn once(arguments: &RunArguments) -> Result<Report, String> {
    let (_, outcome) = arguments.measure(&arguments.plan())?;
    Ok(outcome.report)
}

/// Runs the bridge and the floor in turn. What the bridge sent to whom in a round is what the floor sends.
fn ratio(arguments: &RatioArguments) -> Result<Report, String> {
    let run = &arguments.run;
    let plan = run.plan();
    let (mut last, mut floor) = (None, Floor::default());
    for round in 1..=arguments.rounds {
        if !run.output.quiet {
            println!("\nround {round} of {}", arguments.rounds);
        }
        let (options, Outcome { report, routes }) = run.measure(&plan)?;
        if options.progress {
            println!("\nthe floor of round {round}");
        }
        let streams = floor_run::streams(&routes, plan.camera.codec.is_layered());
        let through_floor = |feedback| {
            let cpus = run.target.cpus.as_deref();
            floor_run::run(&options, &plan, streams.clone(), cpus, feedback)
        };
        let least = through_floor(false)?;
        let with_feedback = through_floor(true)?;
        let bridge = report.process.micros_per_packet;
        floor.bridge_micros_per_packet.push(bridge);
        floor
            .micros_per_packet
            .push(least.process.micros_per_packet);
        floor
            .micros_with_feedback
            .push(with_feedback.process.micros_per_packet);
        floor.forwarded_per_second = least.traffic.forwarded_per_second;
        floor.latency = least.latency;
        last = Some(report);
    }
    let sum = |figures: &[f64]| figures.iter().sum::<f64>();
    let multiple = |of: &[f64]| sum(&floor.bridge_micros_per_packet) / sum(of).max(1e-9);
    floor.ratio = multiple(&floor.micros_per_packet);
    floor.ratio_with_feedback = multiple(&floor.micros_with_feedback);
    let mut report = last.ok_or("no round")?;
    report.floor = Some(floor);
    Ok(report)
}

/// What --json wrote.
fn read(file: &PathBuf) -> Result<Report, String> {
    let error = |what: &dyn std::fmt::Display| format!("{}: {what}", file.display());
    let text = std::fs::read_to_string(file).map_err(|e| error(&e))?;
    let report: Report = serde_json::from_str(&text).map_err(|e| error(&e))?;
    match report.format {
        FORMAT => Ok(report),
        other => Err(error(&format!("format {other} is not known"))),
    }
}

/// Runs both bridges in turn, so that what else the machine does meets both.
fn measure_beside(arguments: &BesideArguments) -> Result<ExitCode, String> {
    let own = TargetArguments {
        daemon: arguments.daemon.clone(),
        cpus: arguments.cpus.clone(),
        ..TargetArguments::default()
    };
    let other = TargetArguments {
        rest: Some(arguments.rest.clone()),
        pid: Some(arguments.pid),
        websocket: arguments.websocket.clone(),
        ..TargetArguments::default()
    };
    let bridges = [other.start()?, own.start()?];
    let scale = arguments.scale.clamp(0.001, 10.0);
    let scaled = |size: u32| ((f64::from(size) * scale) as u32).max(1);
    let mut measured = Vec::new();
    for row in &beside::ROWS {
        let scenario = row.scenario;
        let load = LoadArguments {
            size: Some(scaled(row.size)),
            count: row.count.map(scaled),
            ssrc_rewriting: row.rewriting,
            ..LoadArguments::plain(arguments.seconds)
        };
        let plan = load.plan(scenario, &load.scale());
        let mut warm = Duration::from_secs(arguments.warm);
        let mut pairs = Vec::new();
        for round in 1..=arguments.rounds {
            let mut pair = Vec::new();
            for (bridge, who) in bridges.iter().zip(["other", "causeway"]) {
                let name = row.what.replace([' ', ','], "-");
                let file = |folder: &PathBuf| folder.join(format!("{name}-{round}-{who}.json"));
                let output = OutputArguments {
                    json: arguments.reports.as_ref().map(file),
                    html: None,
                    quiet: true,
                };
                let mut options = load.options(&output, scenario, bridge);
                options.warmup += std::mem::take(&mut warm);
                let report = run::run(&options, &plan)?.report;
                output.write(&report)?;
                pair.push(report);
            }
            if let Ok(pair) = <[Report; 2]>::try_from(pair) {
                pairs.push(pair);
            }
        }
        measured.push((row, pairs));
    }
    let table = beside::table(&arguments.name, &measured);
    println!("{table}");
    if let Some(file) = &arguments.into {
        figures::write_into(file, &beside::PLACE, &table)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn measure_figures(arguments: &FiguresArguments) -> Result<ExitCode, String> {
    let mut measured = Vec::new();
    for row in &figures::ROWS {
        println!("{}", row.what);
        let scale = arguments.scale.clamp(0.001, 10.0);
        let scaled = |size: Option<u32>| size.map(|size| ((f64::from(size) * scale) as u32).max(1));
        let name = row.what.replace([' ', ',', '/'], "-");
        let file = |end: &str| Some(arguments.reports.as_ref()?.join(format!("{name}.{end}")));
        let run = RunArguments {
            scenario: row.scenario,
            target: TargetArguments {
                workers: row.workers,
                ..arguments.target.clone()
            },
            load: LoadArguments {
                size: scaled(row.size),
                count: scaled(row.count),
                scale: Some(scale),
                codec: row.codec,
                srtp: if row.aes_cm { Srtp::Cm } else { Srtp::Gcm },
                channel: row.channel,
                loss: row.loss,
                delay: row.delay,
                turns: row.turns,
                churn: row.churn,
                flood: row.flood.map(Flood::new),
                ..LoadArguments::plain(arguments.seconds)
            },
            output: OutputArguments {
                json: file("json"),
                html: file("html"),
                quiet: true,
            },
        };
        let before = run.output.json.as_ref().filter(|_| arguments.resume);
        if let Some(file) = before.filter(|file| file.exists()) {
            measured.push((row, read(file)?));
            continue;
        }
        let report = match row.floor {
            true => ratio(&RatioArguments {
                run: run.clone(),
                rounds: arguments.rounds,
            })?,
            false => once(&run)?,
        };
        run.output.write(&report)?;
        measured.push((row, report));
    }
    let table = figures::table(&measured);
    println!("{table}");
    if let Some(file) = &arguments.into {
        figures::write_into(file, &figures::PLACE, &table)?;
        for (name, chart) in figures::charts(&measured) {
            let file = file.with_file_name(name);
            std::fs::write(&file, chart).map_err(|error| format!("{}: {error}", file.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn find_capacity(arguments: &CapacityArguments) -> Result<ExitCode, String> {
    let RunArguments {
        scenario,
        target,
        load,
        output,
    } = &arguments.run;
    let bounds = Bounds {
        lost_percent: arguments.max_lost,
        latency_p99_ms: arguments.max_latency,
        frozen_percent: arguments.max_frozen,
        lag_p99_ms: arguments.max_lag,
    };
    let scale = load.scale();
    let first = capacity::start(*scenario, &scale);
    let time = Duration::from_secs(60 * arguments.minutes);
    let steps = capacity::find(first, arguments.most, time, &bounds, |size| {
        let running = target.start()?;
        let mut options = load.options(output, *scenario, &running);
        options.progress = false;
        let mut plan = load.plan(*scenario, &capacity::scaled(*scenario, &scale, size));
        plan.switches = false;
        let report = run::run(&options, &plan)?.report;
        println!(
            "{size:>6}: {}",
            table::brief(&report, &bounds.judge(&report))
        );
        Ok(report)
    })?;
    let good = steps.iter().filter(|step| step.verdict == Verdict::Good);
    let Some(best) = good.max_by_key(|step| step.size) else {
        println!("no size was good");
        return Ok(ExitCode::FAILURE);
    };
    println!("\ngood up to {}:", best.size);
    output.write(&best.report)?;
    Ok(ExitCode::SUCCESS)
}

/// A bridge to run against.
struct Target {
    rest: String,
    pid: Option<u32>,
    websocket: Option<String>,
    name: String,
    daemon: Option<Daemon>,
}

impl Target {
    fn ready_ms(&self) -> Option<f64> {
        let daemon = self.daemon.as_ref()?;
        Some(daemon.ready_after.as_secs_f64() * 1e3)
    }
}

impl TargetArguments {
    fn start(&self) -> Result<Target, String> {
        if let Some(rest) = &self.rest {
            return Ok(Target {
                rest: rest.clone(),
                pid: self.pid,
                websocket: self.websocket.clone(),
                name: format!("bridge at {rest}"),
                daemon: None,
            });
        }
        let daemon = process::start_daemon(&DaemonOptions {
            program: self.daemon.clone(),
            extra: self.config.clone(),
            cpus: self.cpus.clone(),
            workers: self.workers,
        })?;
        Ok(Target {
            rest: daemon.rest.clone(),
            pid: Some(daemon.process.pid()),
            websocket: None,
            name: "causeway".to_owned(),
            daemon: Some(daemon),
        })
    }
}

impl LoadArguments {
    /// What it is if nothing else is said.
    fn plain(seconds: u64) -> LoadArguments {
        LoadArguments {
            size: None,
            count: None,
            scale: None,
            seconds: Some(seconds),
            warmup: 8,
            codec: Codec::default(),
            srtp: Srtp::Gcm,
            ssrc_rewriting: false,
            channel: Channel::default(),
            loss: 0.0,
            delay: 0.0,
            turns: None,
            churn: None,
            spread: 0.0,
            gro: false,
            flood: None,
            threads: 1,
        }
    }

    fn scale(&self) -> Scale {
        Scale {
            size: self.size,
            count: self.count,
            scale: self.scale,
        }
    }

    fn plan(&self, scenario: Scenario, scale: &Scale) -> Plan {
        let mut plan = Plan {
            camera: Picture::camera(self.codec),
            churn: self.churn.map(|rate| seconds(1.0 / rate.max(1e-3))),
            ..scenario.plan(scale)
        };
        if let Some(turn) = self.turns {
            plan.take_turns(seconds(turn));
        }
        plan
    }

    fn options(&self, output: &OutputArguments, scenario: Scenario, target: &Target) -> Options {
        Options {
            rest: target.rest.clone(),
            pid: target.pid,
            name: target.name.clone(),
            web_socket: target.websocket.clone(),
            channel: self.channel,
            line: LineConfig {
                loss: self.loss.clamp(0.0, 100.0) / 100.0,
                delay: Duration::from_secs_f64(self.delay.clamp(0.0, 10_000.0) / 1e3),
            },
            seconds: Duration::from_secs(self.seconds.unwrap_or(scenario.seconds())),
            warmup: Duration::from_secs(self.warmup),
            threads: usize::from(self.threads),
            profiles: match self.srtp {
                Srtp::Gcm => vec![Profile::AeadAes128Gcm],
                Srtp::Cm => vec![Profile::Aes128CmSha1_80],
            },
            rewriting: self.ssrc_rewriting,
            spread: Duration::from_secs_f64(self.spread.clamp(0.0, 1_000.0) / 1e3),
            gro: self.gro,
            flood: self.flood,
            progress: !output.quiet,
        }
    }
}

impl OutputArguments {
    fn write(&self, report: &Report) -> Result<(), String> {
        println!("{}", table::summary(report));
        let write = |file: &PathBuf, text: String| {
            std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
        };
        if let Some(file) = &self.json {
            let text = serde_json::to_string_pretty(report).map_err(|error| error.to_string())?;
            write(file, text)?;
        }
        if let Some(file) = &self.html {
            write(file, html::page(report))?;
        }
        Ok(())
    }
}
