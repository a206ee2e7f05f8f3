//! Rows, as a table for people or as JSON for programs.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json};

use crate::store::schema::{Holds, Table};
use crate::store::sql::Value;

/// Rows of a table with the names of their columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    columns: Vec<String>,
    rows: Vec<Vec<Json>>,
}

impl Listing {
    /// `rows` has a value for each of `columns`; the times among those of `table` become dates.
    #[must_use]
    pub fn new(table: &Table, columns: &[&'static str], rows: Vec<Vec<Value>>) -> Self {
        let times: Vec<bool> = columns
            .iter()
            .map(|name| table.all_columns().any(|column| column.name == *name && column.holds == Holds::Time))
            .collect();
        let row = |row: Vec<Value>| {
            row.into_iter().zip(&times).map(|(value, is_time)| json(value, *is_time)).collect()
        };
        let columns = columns.iter().map(|name| (*name).to_owned()).collect();
        Self { columns, rows: rows.into_iter().map(row).collect() }
    }

    /// Objects that are rows: all with the same keys, and with nothing in them that has parts. `None` for others.
    #[must_use]
    pub fn of_objects(objects: &[Json]) -> Option<Self> {
        let columns: Vec<String> = objects.first()?.as_object()?.keys().cloned().collect();
        let row = |object: &Json| {
            let object = object.as_object().filter(|object| object.keys().eq(&columns))?;
            let plain = object.values().all(|value| !value.is_array() && !value.is_object());
            plain.then(|| object.values().cloned().collect())
        };
        let rows = objects.iter().map(row).collect::<Option<_>>()?;
        Some(Self { columns, rows })
    }

    /// For programs, or for people.
    #[must_use]
    pub fn show(&self, as_json: bool) -> String {
        if as_json { self.json() } else { self.text() }
    }

    /// How many rows it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Several of them under their names: an object of arrays, or one table after the other.
    #[must_use]
    pub fn show_all(all: &[(&'static str, Self)], as_json: bool) -> String {
        if as_json {
            let object = all.iter().map(|(name, list)| ((*name).to_owned(), list.array())).collect();
            return format!("{:#}\n", Json::Object(object));
        }
        let filled = all.iter().filter(|(_, list)| !list.is_empty());
        filled.map(|(name, list)| format!("{name}\n{}\n", list.text())).collect()
    }

    fn json(&self) -> String {
        format!("{:#}\n", self.array())
    }

    /// An array of objects.
    fn array(&self) -> Json {
        let object = |row: &Vec<Json>| {
            let pairs = self.columns.iter().cloned().zip(row.iter().cloned());
            Json::Object(Map::from_iter(pairs))
        };
        Json::Array(self.rows.iter().map(object).collect())
    }

    fn text(&self) -> String {
        let cells: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
        let width = |index: usize| {
            let longest = cells.iter().map(|row| row[index].chars().count()).max().unwrap_or_default();
            longest.max(self.columns[index].len())
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for row in std::iter::once(&self.columns).chain(&cells) {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(line, "{cell:<width$}  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn json(value: Value, is_time: bool) -> Json {
    match value {
        Value::Int(Some(at)) if is_time => Json::String(date(at)),
        Value::Text(text) => text.map_or(Json::Null, Json::String),
        Value::Int(number) => number.map_or(Json::Null, Into::into),
        Value::Real(number) => number.map_or(Json::Null, Into::into),
    }
}

/// What another program wrote may have anything in it: control characters do not reach the terminal.
pub(super) fn cell(value: &Json) -> String {
    match value {
        Json::Null => "-".to_owned(),
        Json::String(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        other => other.to_string(),
    }
}

/// Seconds since 1970 as a date of RFC 3339 in UTC.
#[must_use]
pub fn date(unix: i64) -> String {
    let (days, second) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
    // Days since the first of March of the year 0, in eras of 400 years, which are all alike.
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_leap_years_and_centuries() {
        for (unix, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(date(unix), expected);
        }
    }

    #[test]
    fn the_same_rows_for_people_and_for_programs() {
        let table = Table::named("location").unwrap();
        let row = vec![Value::from("al\x1bice"), Value::Text(None), 0i64.into()];
        let listing = Listing::new(table, &["username", "path", "expires"], vec![row]);
        assert_eq!(
            listing.show(false),
            "username  path  expires\nal\u{fffd}ice    -     1970-01-01T00:00:00Z\n"
        );
        let json: Json = serde_json::from_str(&listing.show(true)).unwrap();
        assert_eq!(json[0]["username"], "al\x1bice");
        assert_eq!(json[0]["path"], Json::Null);
    }
}
