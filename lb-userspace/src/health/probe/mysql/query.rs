//! One statement, and the rows that answer it.

use mysql_common::io::ParseBuf;
use mysql_common::packets::Column;
use mysql_common::value::{TextValue, Value, ValueDeserializer};

use super::failure::Failure;
use super::login::OK;
use super::refusal::{self, Refusal};
use super::wire::Wire;

/// Most columns of an answer; a replica's status has 60 or so.
const MAX_COLUMNS: usize = 250;

/// Most rows of an answer: MySQL has 256 replication channels at most.
const MAX_ROWS: usize = 256;

/// Longest packet of an answer, in bytes: sets of transactions can be long.
const MAX_PACKET_BYTES: usize = 1 << 20;

/// Longest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// First byte of the command that carries a statement.
const STATEMENT: u8 = 0x03;

/// First byte of the packet that ends a list.
const END: u8 = 0xfe;

/// Longest packet that ends a list, in bytes: a longer one is a row.
const MAX_END_BYTES: usize = 8;

/// A row, its values by the names of their columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row(pub(super) Vec<(String, Option<String>)>);

impl Row {
    /// The value of the first column that has one of these names; none also where it is NULL.
    pub(super) fn value(&self, names: &[&str]) -> Option<&str> {
        self.column(names).and_then(|(_, value)| value.as_deref())
    }

    /// Whether a column has one of these names.
    pub(super) fn has(&self, names: &[&str]) -> bool {
        self.column(names).is_some()
    }

    fn column(&self, names: &[&str]) -> Option<&(String, Option<String>)> {
        let is_named =
            |(name, _): &&(String, _)| names.iter().any(|wanted| name.eq_ignore_ascii_case(wanted));
        self.0.iter().find(is_named)
    }
}

/// Asks one statement.
pub(super) async fn query(wire: &mut Wire, statement: &str) -> Result<Vec<Row>, Failure> {
    let mut command = vec![STATEMENT];
    command.extend(statement.as_bytes());
    wire.command(&command).await?;
    let mut left = MAX_ANSWER_BYTES;
    let head = receive(wire, &mut left).await?;
    let count = match head.as_slice() {
        [refusal::HEADER, ..] => return Err(Failure::Server(Refusal::parse(&head))),
        [OK, ..] => return Ok(Vec::new()),
        // Counts above 250 have another form, and no answer of ours has so many columns.
        [count] if usize::from(*count) <= MAX_COLUMNS => usize::from(*count),
        _ => return Err(malformed("not a list of columns")),
    };
    let mut names = Vec::with_capacity(count);
    for _ in 0..count {
        names.push(column_name(&receive(wire, &mut left).await?)?);
    }
    if !is_end(&receive(wire, &mut left).await?) {
        return Err(malformed("the list of columns does not end"));
    }
    let mut rows = Vec::new();
    while rows.len() <= MAX_ROWS {
        let packet = receive(wire, &mut left).await?;
        if is_end(&packet) {
            return Ok(rows);
        }
        if packet.first() == Some(&refusal::HEADER) {
            return Err(Failure::Server(Refusal::parse(&packet)));
        }
        rows.push(row(&names, &packet)?);
    }
    Err(malformed(&format!("an answer of more than {MAX_ROWS} rows")))
}

async fn receive(wire: &mut Wire, left: &mut usize) -> Result<Vec<u8>, Failure> {
    let packet = wire.receive(MAX_PACKET_BYTES.min(*left)).await?;
    *left -= packet.len();
    Ok(packet)
}

/// Longest name of a column: of those that are looked for none is longer than 64 characters (the servers' limit for names).
const MAX_NAME_BYTES: usize = 256;

fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&END) && packet.len() <= MAX_END_BYTES
}

pub(super) fn column_name(packet: &[u8]) -> Result<String, Failure> {
    let column = ParseBuf(packet).parse::<Column>(()).map_err(|error| malformed(&error.to_string()))?;
    let name = column.name_str();
    if name.len() > MAX_NAME_BYTES {
        return Err(malformed("the name of a column that is too long"));
    }
    Ok(name.into_owned())
}

pub(super) fn row(names: &[String], packet: &[u8]) -> Result<Row, Failure> {
    let mut rest = ParseBuf(packet);
    let mut values = Vec::with_capacity(names.len());
    for name in names {
        if rest.is_empty() {
            return Err(malformed("a row that is too short"));
        }
        let value =
            rest.parse::<ValueDeserializer<TextValue>>(()).map_err(|error| malformed(&error.to_string()))?;
        let text = match value.0 {
            Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            _ => None,
        };
        values.push((name.clone(), text));
    }
    Ok(Row(values))
}

fn malformed(detail: &str) -> Failure {
    Failure::Malformed(detail.to_owned())
}
