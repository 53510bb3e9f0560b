use proptest::prelude::*;

use super::*;

#[track_caller]
fn refused<T: fmt::Debug>(parsed: Result<T, UnitError>, part: &str) {
    let message = parsed.expect_err("should be refused").to_string();
    assert!(message.contains(part), "{message:?} does not say {part:?}");
}

#[test]
fn durations_read_as_written() {
    for (text, expected) in [
        ("0s", Duration::ZERO),
        ("off", Duration::ZERO),
        ("0.001us", Duration::from_nanos(1)),
        ("250ms", Duration::from_millis(250)),
        ("1.5s", Duration::from_millis(1500)),
        ("1m30s", Duration::from_secs(90)),
        ("2h", Duration::from_secs(7200)),
        ("1h2m3s4ms5us", Duration::new(3723, 4_005_000)),
        ("18446744073709551615s", Duration::from_secs(u64::MAX)),
        ("00000000000000000000000000000000000000000000001s", Duration::from_secs(1)),
        ("1.50000000000000000000000000000000s", Duration::from_millis(1500)),
    ] {
        assert_eq!(duration(text), Ok(expected), "{text}");
    }
}

#[test]
fn durations_without_sense_are_refused_with_a_hint() {
    refused(duration("10"), "did you mean 10s?");
    refused(duration("1.5"), "did you mean 1.5s?");
    refused(duration("584542046090y"), "unknown unit (us, ms, s, m or h)");
    refused(duration("1m30"), "unknown unit");
    refused(duration("30s1m"), "from large to small");
    refused(duration("1s1s"), "from large to small");
    refused(duration("18446744073709551616s"), "too large");
    refused(duration("99999999999999999999999999999999999999999999s"), "too large");
    refused(duration("5124095576030432h"), "too large");
    refused(duration("0.0001us"), "finer than a nanosecond");
    for text in
        ["", "NaN", "inf", "-1s", "+1s", "1e300", "1e300s", "s", ".s", "1.s", ".5s", "1..5s"]
    {
        assert!(duration(text).is_err(), "{text:?}");
    }
    for text in ["1 s", " 1s", "1s ", "1s,", "1S", "1.5.5s", "١s", "1m 30s"] {
        assert!(duration(text).is_err(), "{text:?}");
    }
    refused(positive_duration("off"), "longer than zero");
}

#[test]
fn absent_limits_have_names() {
    assert_eq!(timeout("infinity"), Ok(Timeout::Never));
    assert_eq!(timeout("0s"), Ok(Timeout::After(Duration::ZERO)));
    refused(timeout("off"), "infinity for no limit");
    for text in ["off", "0s", "0ms", "infinity"] {
        assert_eq!(optional_timeout(text), Ok(Timeout::Never), "{text}");
    }
    assert_eq!(optional_timeout("1s"), Ok(Timeout::After(Duration::from_secs(1))));
    assert_eq!(timeout("infinity").unwrap().limit(), None);
}

#[test]
fn sizes_know_1024_from_1000() {
    for (text, expected) in [
        ("0", 0),
        ("512", 512),
        ("512B", 512),
        ("64K", 65_536),
        ("16KiB", 16_384),
        ("1.5K", 1_536),
        ("2kB", 2_000),
        ("1MiB", 1_048_576),
        ("1M", 1_048_576),
        ("1MB", 1_000_000),
        ("1G", 1 << 30),
        ("1GB", 1_000_000_000),
        ("16777215T", 16_777_215 << 40),
    ] {
        assert_eq!(size(text), Ok(expected), "{text}");
    }
    refused(size("64k"), "did you mean 64K (of 1024) or 64kB (1000)?");
    refused(size("1.5B"), "whole number of bytes");
    refused(size("16777216T"), "too large");
    refused(size("10X"), "unknown unit");
    refused(size("1K1K"), "not a size");
    refused(size("-1K"), "not a size");
}

#[test]
fn counts_are_whole() {
    for (text, expected) in [("0", 0), ("10k", 10_000), ("1.5M", 1_500_000), ("1.001k", 1_001)] {
        assert_eq!(count(text), Ok(expected), "{text}");
    }
    refused(count("10K"), "did you mean 10k?");
    refused(count("1.5"), "whole number");
    refused(count("1.0001k"), "whole number");
    refused(count("18446744073709551616"), "too large");
    refused(count("10x"), "unknown unit");
    refused(count("many"), "not a count");
    refused(positive_count("0"), "at least 1");
}

#[test]
fn durations_for_people_have_three_digits() {
    for (nanos, expected) in [
        (0, "0 s"),
        (999, "999 ns"),
        (1_500, "1.50 us"),
        (3_140_000, "3.14 ms"),
        (31_400_000, "31.4 ms"),
        (8_001_000_000, "8.00 s"),
        (3_601_500_000_000, "1h1s"),
    ] {
        assert_eq!(approximate_duration(Duration::from_nanos(nanos)), expected);
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(secs: u64, small in 0_u64..5_000, nanos in 0_u32..1_000_000_000) {
        for written in [
            Duration::new(secs, nanos),
            Duration::new(small, nanos),
            Duration::from_nanos(nanos.into()),
            Duration::from_secs(secs),
            Duration::from_micros(small),
        ] {
            prop_assert_eq!(duration(&format_duration(written)), Ok(written));
        }
        for number in [secs, small, small << 10, small << 20, small.saturating_mul(1_000)] {
            prop_assert_eq!(size(&format_size(number)), Ok(number));
            prop_assert_eq!(count(&number.to_string()), Ok(number));
        }
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in ".*", digits in "[0-9.]{0,50}[a-zA-Z]{0,3}") {
        for text in [text.as_str(), digits.as_str()] {
            for message in [duration(text).err(), size(text).err(), count(text).err()] {
                let line = message.map(|e| e.to_string()).unwrap_or_default();
                let plain = !line.contains(char::is_control);
                prop_assert!(plain, "{}", line);
            }
        }
    }
}
