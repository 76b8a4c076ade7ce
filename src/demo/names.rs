//! Names that people type: rooms and participants.

use std::fmt;

use super::error::ApiError;
use super::limits::{MAX_DISPLAY_NAME, MAX_ROOM_NAME};

/// A room's name in its one spelling: lower case, blanks become hyphens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RoomName(String);

impl RoomName {
    /// From what was typed, or a sentence that says what is wrong with it.
    pub fn new(typed: &str) -> Result<RoomName, ApiError> {
        // Lower case may be longer than what was typed, so the bound is checked on the result.
        let name = typed
            .split_whitespace()
            .collect::<Vec<_>>()
            .join("-")
            .to_lowercase();
        if name.is_empty() {
            return Err(ApiError::invalid("A room needs a name."));
        }
        if name.chars().count() > MAX_ROOM_NAME {
            return Err(ApiError::invalid(format!(
                "The room's name is longer than {MAX_ROOM_NAME} characters."
            )));
        }
        if !name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
        {
            return Err(ApiError::invalid(
                "A room's name may have letters, digits, blanks, and the characters - _ .",
            ));
        }
        Ok(RoomName(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A participant's name from what was typed: blanks collapsed, invisible characters removed.
///
/// Control characters and those that turn the writing direction could make one name look like another
/// in everybody else's page.
pub fn display_name(typed: &str) -> Result<String, ApiError> {
    let visible: String = typed.chars().filter(|c| !is_invisible(*c)).collect();
    let name = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    match name.chars().count() {
        0 => Ok("Guest".to_owned()),
        1..=MAX_DISPLAY_NAME => Ok(name),
        _ => Err(ApiError::invalid(format!(
            "Your name is longer than {MAX_DISPLAY_NAME} characters."
        ))),
    }
}

fn is_invisible(c: char) -> bool {
    (c.is_control() && !c.is_whitespace())
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_names_have_one_spelling() {
        assert_eq!(
            RoomName::new("  Daily  Stand-Up ").unwrap().as_str(),
            "daily-stand-up"
        );
        assert_eq!(RoomName::new("Café_2.0").unwrap().as_str(), "café_2.0");
    }

    #[test]
    fn room_names_are_bounded_and_plain() {
        assert!(RoomName::new(&"x".repeat(MAX_ROOM_NAME)).is_ok());
        assert!(RoomName::new(&"x".repeat(MAX_ROOM_NAME + 1)).is_err());
        // The lower case of this letter has two characters.
        assert!(RoomName::new(&"İ".repeat(MAX_ROOM_NAME)).is_err());
        for bad in ["", "   ", "a/b", "../x", "a\0b", "a?b", "<b>", "a\u{202e}b"] {
            assert!(RoomName::new(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn display_names_can_not_hide_characters() {
        assert_eq!(
            display_name(" Ada \t Lovelace\u{202e}\u{0} ").unwrap(),
            "Ada Lovelace"
        );
        assert_eq!(display_name("\u{200b}").unwrap(), "Guest");
        assert!(display_name(&"x".repeat(MAX_DISPLAY_NAME)).is_ok());
        assert!(display_name(&"x".repeat(MAX_DISPLAY_NAME + 1)).is_err());
    }
}
