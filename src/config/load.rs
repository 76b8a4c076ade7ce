//! How load is measured (`videobridge.load-management`).

use causeway_bridge::allocation::ReducerConfig;
use causeway_hocon::{Error, Value};

use super::reader::{Reader, number, period, positive};

/// What the stress level is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadMeasurement {
    /// CPU time.
    CpuUsage,
    /// Packets per second in both directions.
    PacketRate,
}

/// How load is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// What counts.
    pub measurement: LoadMeasurement,
    /// Share of CPU time at which the stress level is 1.
    pub cpu_threshold: f64,
    /// Packets per second at which the stress level is 1.
    pub packet_threshold: f64,
    /// CPU time that the hypervisor gave to others counts as used.
    pub detect_steal: bool,
    /// Lowers the number of video sources that receivers get under load; `None` = off.
    pub reducer: Option<ReducerConfig>,
    /// Published for foci: stress that one more participant adds.
    pub average_participant_stress: f64,
}

impl Default for Load {
    fn default() -> Self {
        Load {
            measurement: LoadMeasurement::CpuUsage,
            cpu_threshold: 0.9,
            packet_threshold: 50_000.0,
            detect_steal: true,
            reducer: None,
            average_participant_stress: 0.01,
        }
    }
}

/// Largest factor of a step.
const MAX_SCALE: f64 = 100.0;

pub(super) fn read(r: &mut Reader<'_>, load: &mut Load) {
    const MEASUREMENTS: &str = "videobridge.load-management.load-measurements";
    r.set(
        &format!("{MEASUREMENTS}.load-measurement"),
        &mut load.measurement,
        measurement,
    );
    r.set(
        &format!("{MEASUREMENTS}.cpu-usage.load-threshold"),
        &mut load.cpu_threshold,
        threshold,
    );
    r.set(
        &format!("{MEASUREMENTS}.cpu-usage.detect-cpu-steal"),
        &mut load.detect_steal,
        Value::to_bool,
    );
    let mut packets = load.packet_threshold as u32;
    r.set(
        &format!("{MEASUREMENTS}.packet-rate.load-threshold"),
        &mut packets,
        number(1, i64::from(u32::MAX)),
    );
    load.packet_threshold = f64::from(packets);
    let mut cpu_recovery = 0.72;
    r.set(
        &format!("{MEASUREMENTS}.cpu-usage.recovery-threshold"),
        &mut cpu_recovery,
        threshold,
    );
    let mut packet_recovery: u32 = 40_000;
    r.set(
        &format!("{MEASUREMENTS}.packet-rate.recovery-threshold"),
        &mut packet_recovery,
        number(0, i64::from(u32::MAX)),
    );
    let (load_threshold, recovery_threshold) = match load.measurement {
        LoadMeasurement::CpuUsage => (load.cpu_threshold, cpu_recovery),
        LoadMeasurement::PacketRate => (load.packet_threshold, f64::from(packet_recovery)),
    };
    let mut reducer = ReducerConfig {
        load_threshold,
        recovery_threshold,
        ..ReducerConfig::default()
    };
    reduction(r, &mut reducer);
    let enabled = "videobridge.load-management.reducer-enabled";
    if r.get(enabled, Value::to_bool) == Some(true) {
        load.reducer = Some(reducer);
    }
    r.set(
        "videobridge.load-management.average-participant-stress",
        &mut load.average_participant_stress,
        positive(1.0),
    );
}

/// How much is taken away and given back (`videobridge.load-management.load-reducers.last-n`).
fn reduction(r: &mut Reader<'_>, reducer: &mut ReducerConfig) {
    const LAST_N: &str = "videobridge.load-management.load-reducers.last-n";
    r.set(
        &format!("{LAST_N}.reduction-scale"),
        &mut reducer.reduction_scale,
        positive(MAX_SCALE),
    );
    r.set(
        &format!("{LAST_N}.recover-scale"),
        &mut reducer.recover_scale,
        positive(MAX_SCALE),
    );
    r.set(
        &format!("{LAST_N}.impact-time"),
        &mut reducer.impact_time,
        period,
    );
    r.set(
        &format!("{LAST_N}.minimum-last-n-value"),
        &mut reducer.minimum,
        number(0, i64::from(i32::MAX)),
    );
    r.set(
        &format!("{LAST_N}.maximum-enforced-last-n-value"),
        &mut reducer.maximum,
        number(0, i64::from(i32::MAX)),
    );
}

/// A share of CPU time, not zero.
fn threshold(value: &Value, key: &str) -> Result<f64, Error> {
    let share = positive(1.0)(value, key)?;
    if share < 0.01 {
        return Err(value.error(key, "must be at least 0.01"));
    }
    Ok(share)
}

fn measurement(value: &Value, key: &str) -> Result<LoadMeasurement, Error> {
    match value.to_text(key)? {
        "cpu-usage" => Ok(LoadMeasurement::CpuUsage),
        "packet-rate" => Ok(LoadMeasurement::PacketRate),
        _ => Err(value.error(key, "must be cpu-usage or packet-rate")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use causeway_hocon::{Config, no_includes};

    use super::*;
    use crate::config::Loaded;

    fn read(inner: &str) -> Result<Load, String> {
        let text = format!("videobridge.load-management {{ {inner} }}");
        let layers = Config::parse(&text, "jvb.conf", &no_includes).unwrap();
        let loaded = Loaded::with_environment(&layers, &|_: &str| None);
        loaded
            .map(|loaded| loaded.config.load)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn production_measures_packets_per_second() {
        let text = "load-measurements { load-measurement = packet-rate, packet-rate { load-threshold = 100000 } }
                    average-participant-stress = 0.004";
        let expected = Load {
            measurement: LoadMeasurement::PacketRate,
            packet_threshold: 100_000.0,
            average_participant_stress: 0.004,
            ..Load::default()
        };
        assert_eq!(read(text), Ok(expected));
    }

    #[test]
    fn the_reducer_has_the_thresholds_of_what_is_measured() {
        assert_eq!(read("reducer-enabled = false").unwrap().reducer, None);
        let default = ReducerConfig::default();
        assert_eq!(
            read("reducer-enabled = true").unwrap().reducer,
            Some(default)
        );
        let text = "reducer-enabled = true
                    load-measurements { load-measurement = packet-rate
                      packet-rate { load-threshold = 100000, recovery-threshold = 70000 }
                      cpu-usage { load-threshold = 0.5, recovery-threshold = 0.4 } }
                    load-reducers.last-n { reduction-scale = 0.5, recover-scale = 2, impact-time = 30 seconds
                      minimum-last-n-value = 2, maximum-enforced-last-n-value = 25 }";
        let expected = ReducerConfig {
            load_threshold: 100_000.0,
            recovery_threshold: 70_000.0,
            reduction_scale: 0.5,
            recover_scale: 2.0,
            impact_time: Duration::from_secs(30),
            minimum: 2,
            maximum: 25,
        };
        assert_eq!(read(text).unwrap().reducer, Some(expected));
        for wrong in [
            "reduction-scale = -1",
            "impact-time = 0",
            "minimum-last-n-value = -2",
        ] {
            let text = format!("load-reducers.last-n.{wrong}");
            assert!(read(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_could_not_be_divided_by_is_refused() {
        for text in [
            "load-measurements.cpu-usage.load-threshold = 0",
            "load-measurements.packet-rate.load-threshold = 0",
            "load-measurements.load-measurement = guess",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
