//! Configuration files: any text gives settings or an error with its place, within bounded time and stack.

#![no_main]

use causeway_hocon::{Config, Data, Include, Included};
use libfuzzer_sys::fuzz_target;

/// One file that exists and includes itself.
fn folder(include: Include<'_>) -> Result<Option<Included>, String> {
    let text = "z0 = ${?a}\ninclude \"more.conf\"".to_owned();
    Ok((include.path == "more.conf").then(|| Included {
        name: include.path.to_owned(),
        text,
    }))
}

fuzz_target!(|text: &str| {
    let Ok(config) = Config::parse(text, "fuzz.conf", &folder) else {
        return;
    };
    let env = |name: &str| (name == "JVB_PORT").then(|| "20000".to_owned());
    let Ok(settings) = config.resolve(&env) else {
        return;
    };
    for (path, value) in settings.leaves() {
        assert!(matches!(value.data(), Data::Null) || settings.get(&path) == Some(value));
        let _ = (
            value.to_bool(&path),
            value.to_i64(&path),
            value.to_f64(&path),
            value.to_bytes(&path),
        );
        let _ = (
            value.to_duration(&path),
            value.to_bits_per_second(&path),
            value.to_texts(&path),
        );
    }
});
