//! The vectors of allocation spec §5: levels every 20 ms, decisions at 1, 301, 601 … ms.

use super::*;

const A: EndpointKey = EndpointKey(1);
const B: EndpointKey = EndpointKey(2);
const C: EndpointKey = EndpointKey(3);

/// Runs a conference in which speaker number n sends `level(n, ms)` every 20 ms for `seconds`, and
/// returns (ms, elected) of all events.
fn events(
    config: &AudioConfig,
    speakers: &[EndpointKey],
    seconds: u64,
    level: impl Fn(EndpointKey, u64) -> Option<u8>,
) -> Vec<(u64, Option<EndpointKey>)> {
    let mut dominant = DominantSpeaker::new(config);
    speakers.iter().for_each(|speaker| dominant.add(*speaker));
    let mut events = Vec::new();
    for millis in 0..seconds * 1000 {
        let now = Time::from_millis(millis);
        if millis % 20 == 0 {
            for speaker in speakers {
                if let Some(level) = level(*speaker, millis) {
                    dominant.on_level(now, *speaker, level);
                }
            }
        }
        // The first decision falls behind the first levels, as in the vectors.
        if millis % 300 == 1
            && dominant
                .poll_timeout()
                .is_some_and(|timeout| timeout <= now)
        {
            dominant.handle_timeout(now);
        }
        events.extend(dominant.poll_event().map(|event| (millis, event)));
    }
    events
}

/// Like [`events`], for speakers with 20 except where `level` says otherwise.
fn run(
    speakers: &[EndpointKey],
    level: impl Fn(EndpointKey, u64) -> Option<u8>,
) -> Vec<(u64, Option<EndpointKey>)> {
    events(&AudioConfig::default(), speakers, 20, |speaker, millis| {
        Some(level(speaker, millis).unwrap_or(20))
    })
}

fn with_silence_detection(
    seconds: u64,
    level: impl Fn(EndpointKey, u64) -> Option<u8>,
) -> Vec<(u64, Option<EndpointKey>)> {
    let config = AudioConfig {
        silence_detection: true,
        ..AudioConfig::default()
    };
    events(&config, &[A, B], seconds, |speaker, millis| {
        Some(level(speaker, millis).unwrap_or(20))
    })
}

#[test]
fn allocation_case_50_who_is_alone_is_dominant() {
    assert_eq!(run(&[A], |_, _| Some(5)), [(1, Some(A))]);
}

#[test]
fn allocation_case_50_who_begins_to_speak_takes_over() {
    for loud in [100, 80] {
        let events = run(&[A, B], |who, ms| (who == B && ms >= 2000).then_some(loud));
        assert_eq!(events, [(1, Some(A)), (2101, Some(B))], "level {loud}");
    }
}

#[test]
fn allocation_case_50_a_third_of_a_second_is_enough() {
    let events = run(&[A, B], |who, ms| {
        (who == B && (2000..2300).contains(&ms)).then_some(100)
    });
    assert_eq!(events, [(1, Some(A)), (2101, Some(B))]);
}

#[test]
fn allocation_case_50_interrupted_sounds_are_no_speech() {
    let events = run(&[A, B], |who, ms| {
        (who == B && ms >= 2000 && (ms / 100) % 2 == 0).then_some(100)
    });
    assert_eq!(events, [(1, Some(A))]);
}

#[test]
fn allocation_case_50_a_constant_level_is_noise() {
    assert_eq!(
        run(&[A, B], |who, _| (who == B).then_some(100)),
        [(1, Some(A))]
    );
    let from_silence = run(&[A, B], |who, ms| {
        Some(if who == B && ms >= 2000 { 100 } else { 0 })
    });
    assert_eq!(from_silence, [(1, Some(A))]);
}

#[test]
fn allocation_case_50_the_floor_goes_over_when_the_dominant_one_is_done() {
    let events = run(&[A, B], |who, ms| match who {
        A if (2000..5000).contains(&ms) => Some(100),
        B if ms >= 5000 => Some(100),
        _ => None,
    });
    assert_eq!(events, [(1, Some(A)), (5701, Some(B))]);
}

#[test]
fn allocation_case_50_the_dominant_one_keeps_the_floor() {
    assert_eq!(
        run(&[A, B], |_, ms| (ms >= 2000).then_some(100)),
        [(1, Some(A))]
    );
}

#[test]
fn allocation_case_50_who_stops_sending_is_silent() {
    let events = events(&AudioConfig::default(), &[A, B], 20, |who, ms| match who {
        A => (ms < 2000).then_some(100),
        _ => Some(if ms >= 4000 { 100 } else { 20 }),
    });
    assert_eq!(events, [(1, Some(A)), (4201, Some(B))]);
}

#[test]
fn allocation_case_50_louder_is_not_better() {
    let events = run(&[A, B, C], |who, ms| match who {
        B if ms >= 2000 => Some(90),
        C if ms >= 2000 => Some(120),
        _ => None,
    });
    assert_eq!(events, [(1, Some(A)), (2101, Some(B))]);
}

#[test]
fn allocation_case_50_silence_begins_when_the_last_speech_is_long_ago() {
    let events = with_silence_detection(20, |who, ms| {
        (who == A && (2000..6000).contains(&ms)).then_some(100)
    });
    assert_eq!(events, [(2101, Some(A)), (9901, None)]);
}

#[test]
fn allocation_case_50_silence_ends_with_speech() {
    let events = with_silence_detection(30, |who, ms| match who {
        A if (2000..6000).contains(&ms) => Some(100),
        B if (12_000..15_000).contains(&ms) => Some(100),
        _ => None,
    });
    assert_eq!(
        events,
        [
            (2101, Some(A)),
            (9901, None),
            (12_301, Some(B)),
            (18_901, None)
        ]
    );
}

#[test]
fn allocation_case_50_silence_from_the_beginning_is_no_event() {
    assert_eq!(with_silence_detection(20, |_, _| None), []);
}

/// Allocation spec Q14: somebody who speaks evenly is not silent.
#[test]
fn q14_uninterrupted_speech_is_not_silence() {
    let events = with_silence_detection(20, |who, ms| (who == A && ms >= 2000).then_some(100));
    assert_eq!(events, [(2101, Some(A))]);
}

/// Allocation spec Q13: who left is forgotten, also as a provisional speaker and with late packets.
#[test]
fn q13_a_speaker_that_left_is_no_candidate() {
    let mut dominant = DominantSpeaker::new(&AudioConfig::default());
    for speaker in [A, B] {
        dominant.add(speaker);
        dominant.on_level(Time::ZERO, speaker, 20);
    }
    dominant.handle_timeout(Time::ZERO);
    assert_eq!(dominant.poll_event(), Some(Some(A)));

    dominant.remove(A);
    assert_eq!(dominant.dominant(), None);
    assert_eq!(dominant.on_level(Time::from_millis(20), A, 100), None);
    dominant.handle_timeout(Time::from_millis(300));
    assert_eq!(dominant.poll_event(), Some(Some(B)));

    dominant.remove(B);
    dominant.handle_timeout(Time::from_millis(600));
    assert_eq!(
        dominant.poll_event(),
        None,
        "nobody is left: nothing to tell"
    );
}

#[test]
fn an_endpoint_without_levels_is_no_speaker() {
    let mut dominant = DominantSpeaker::new(&AudioConfig::default());
    dominant.add(A);
    dominant.add(B);
    assert_eq!(dominant.poll_timeout(), None);
    dominant.on_level(Time::from_millis(10), B, 20);
    assert_eq!(
        dominant.poll_timeout(),
        Some(Time::from_millis(10)),
        "decide at once"
    );
    dominant.handle_timeout(Time::from_millis(10));
    assert_eq!(dominant.poll_event(), Some(Some(B)));
    assert_eq!(dominant.poll_timeout(), Some(Time::from_millis(310)));
}

#[test]
fn decisions_stop_without_levels_and_begin_again_with_the_next() {
    let mut dominant = DominantSpeaker::new(&AudioConfig::default());
    dominant.add(A);
    dominant.on_level(Time::ZERO, A, 20);
    let mut decisions = 0;
    while let Some(timeout) = dominant.poll_timeout() {
        dominant.handle_timeout(timeout);
        decisions += 1;
    }
    assert_eq!(decisions, 52, "15 s and the decision behind it");
    dominant.on_level(Time::from_millis(60_000), A, 20);
    assert_eq!(dominant.poll_timeout(), Some(Time::from_millis(60_000)));
}

#[test]
fn a_speaker_without_levels_for_an_hour_is_forgotten() {
    let mut dominant = DominantSpeaker::new(&AudioConfig::default());
    for speaker in [A, B] {
        dominant.add(speaker);
        dominant.on_level(Time::ZERO, speaker, 20);
    }
    dominant.handle_timeout(Time::ZERO);
    let later = Time::ZERO + Duration::from_secs(3601);
    dominant.on_level(later, A, 20);
    dominant.handle_timeout(later);
    let heard = |key| dominant.speakers[dominant.find(key).unwrap()].heard;
    assert_eq!((heard(A), heard(B)), (Some(later), None));
}

#[test]
fn the_minimum_follows_down_at_once_and_up_slowly() {
    let mut dominant = DominantSpeaker::new(&AudioConfig::default());
    dominant.add(A);
    let mut now = Time::ZERO;
    let mut minimum_after = |level, count: u32| {
        let mut minimum = None;
        for _ in 0..count {
            now += Duration::from_millis(20);
            minimum = dominant.on_level(now, A, level);
        }
        minimum
    };
    assert_eq!(minimum_after(0, 1), Some(0), "no level is no minimum");
    assert_eq!(minimum_after(40, 1), Some(40));
    assert_eq!(minimum_after(20, 1), Some(20));
    assert_eq!(minimum_after(80, 749), Some(20));
    assert_eq!(minimum_after(80, 1), Some(40), "the geometric mean");
    assert_eq!(
        minimum_after(255, 750),
        Some(71),
        "levels above 127 count as 127"
    );
}

#[test]
fn an_older_level_is_ignored() {
    let mut speaker = Speaker::new(A);
    speaker.on_level(Time::from_millis(100), 50);
    speaker.on_level(Time::from_millis(99), 30);
    assert_eq!((speaker.levels[0], speaker.minimum), (50, 50));
}

#[test]
fn missing_levels_count_as_silence_from_the_second_tick_on() {
    let mut speaker = Speaker::new(A);
    speaker.on_level(Time::ZERO, 100);
    speaker.add_silence(Time::from_millis(79));
    assert_eq!(speaker.levels[..2], [100, 0]);
    speaker.add_silence(Time::from_millis(80));
    assert_eq!(speaker.levels[..3], [0, 100, 0]);
    speaker.add_silence(Time::from_millis(130));
    assert_eq!(speaker.levels[..4], [0, 0, 100, 0]);
    speaker.add_silence(Time::FAR);
    assert_eq!(speaker.levels, [0; LEVELS]);
}
