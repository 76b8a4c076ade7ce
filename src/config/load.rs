//! How load is measured (`videobridge.load-management`).

use causeway_hocon::{Error, Value};

use super::reader::{Reader, number, positive};

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
            average_participant_stress: 0.01,
        }
    }
}

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
    r.set(
        "videobridge.load-management.average-participant-stress",
        &mut load.average_participant_stress,
        positive(1.0),
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
