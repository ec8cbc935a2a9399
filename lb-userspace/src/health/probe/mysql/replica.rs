//! How a server follows its source, from the rows of its status.
//!
//! Always holds: columns are read by name, in MySQL's form and MariaDB's; of several channels the worst counts.

use std::time::Duration;

use super::query::Row;
use super::refusal::printable;

/// How MySQL is asked: the form since 8.0.22, and the one up to 8.3.
pub(super) const MYSQL: &[&str] = &["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"];

/// How MariaDB is asked, which shows one channel only unless asked for all: the forms since 10.5 and since 10.0.
pub(super) const MARIADB: &[&str] =
    &["SHOW ALL REPLICAS STATUS", "SHOW ALL SLAVES STATUS", "SHOW SLAVE STATUS"];

const LAG: &[&str] = &["Seconds_Behind_Source", "Seconds_Behind_Master"];
const IO_RUNS: &[&str] = &["Replica_IO_Running", "Slave_IO_Running"];
const SQL_RUNS: &[&str] = &["Replica_SQL_Running", "Slave_SQL_Running"];
const ERRORS: &[&str] = &["Last_SQL_Error", "Last_IO_Error"];

/// How a server follows its source, the worst last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Replication {
    /// It follows nobody.
    None,
    /// It is so far behind.
    Behind(Duration),
    /// It does not know how far it is behind (NULL), for this reason.
    Stopped(String),
}

/// Reads the status, one row a channel.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(rows: &[Row]) -> Result<Replication, String> {
    rows.iter().try_fold(Replication::None, |worst, row| Ok(worst.max(read_channel(row)?)))
}

fn read_channel(row: &Row) -> Result<Replication, String> {
    match row.value(LAG).map(|lag| (lag, lag.parse())) {
        Some((_, Ok(lag_s))) => Ok(Replication::Behind(Duration::from_secs(lag_s))),
        Some((lag, Err(_))) => Err(format!("a lag that is no number: {}", printable(lag))),
        None if row.has(LAG) => Ok(Replication::Stopped(why_stopped(row))),
        None => Err("a replica's status without Seconds_Behind_Source or Seconds_Behind_Master".to_owned()),
    }
}

fn why_stopped(row: &Row) -> String {
    let word = |names| printable(row.value(names).unwrap_or("unknown"));
    let threads = format!("IO thread: {}, SQL thread: {}", word(IO_RUNS), word(SQL_RUNS));
    let errors = ERRORS.iter().filter_map(|name| row.value(&[name]));
    match errors.map(printable).find(|error| !error.is_empty()) {
        Some(error) => format!("{threads}; last error: {error}"),
        None => threads,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[(&str, Option<&str>)]) -> Row {
        let own = |(name, value): &(&str, Option<&str>)| ((*name).to_owned(), value.map(str::to_owned));
        Row(values.iter().map(own).collect())
    }

    fn mysql(lag: Option<&str>, io: &str, sql: &str, sql_error: &str) -> Row {
        row(&[
            ("Replica_IO_State", Some("Waiting for source to send event")),
            ("Replica_IO_Running", Some(io)),
            ("Replica_SQL_Running", Some(sql)),
            ("Last_Error", Some("")),
            ("Seconds_Behind_Source", lag),
            ("Last_IO_Error", Some("")),
            ("Last_SQL_Error", Some(sql_error)),
            ("Channel_Name", Some("")),
        ])
    }

    fn mariadb(lag: Option<&str>, io: &str, io_error: &str) -> Row {
        row(&[
            ("Connection_name", Some("")),
            ("Slave_IO_Running", Some(io)),
            ("Slave_SQL_Running", Some("Yes")),
            ("Seconds_Behind_Master", lag),
            ("Last_IO_Error", Some(io_error)),
            ("Last_SQL_Error", Some("")),
        ])
    }

    fn behind(lag_s: u64) -> Replication {
        Replication::Behind(Duration::from_secs(lag_s))
    }

    #[test]
    fn both_forms_are_read() {
        assert_eq!(read(&[]), Ok(Replication::None));
        assert_eq!(read(&[mysql(Some("0"), "Yes", "Yes", "")]), Ok(behind(0)));
        assert_eq!(read(&[mariadb(Some("17"), "Yes", "")]), Ok(behind(17)));
    }

    #[test]
    fn a_lag_that_is_null_is_explained() {
        let stopped = read(&[mysql(None, "Yes", "No", "Duplicate entry '7'\nfor key 'PRIMARY'")]);
        let why = "IO thread: Yes, SQL thread: No; last error: Duplicate entry '7' for key 'PRIMARY'";
        assert_eq!(stopped, Ok(Replication::Stopped(why.to_owned())));
        let stopped = read(&[mariadb(None, "Connecting", "error connecting to master")]);
        let why = "IO thread: Connecting, SQL thread: Yes; last error: error connecting to master";
        assert_eq!(stopped, Ok(Replication::Stopped(why.to_owned())));
        let stopped = read(&[mariadb(None, "No", "")]);
        assert_eq!(stopped, Ok(Replication::Stopped("IO thread: No, SQL thread: Yes".to_owned())));
    }

    #[test]
    fn the_worst_channel_counts() {
        let (near, far) = (mysql(Some("1"), "Yes", "Yes", ""), mysql(Some("60"), "Yes", "Yes", ""));
        assert_eq!(read(&[far.clone(), near.clone()]), Ok(behind(60)));
        let stopped = mysql(None, "No", "No", "");
        assert!(matches!(read(&[stopped, far, near]), Ok(Replication::Stopped(_))));
    }

    #[test]
    fn a_status_without_a_lag_is_an_error() {
        assert!(read(&[row(&[("Slave_IO_Running", Some("Yes"))])]).is_err());
        assert!(read(&[mysql(Some("soon"), "Yes", "Yes", "")]).unwrap_err().contains("soon"));
    }
}
