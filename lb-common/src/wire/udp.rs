//! UDP (RFC 768).

/// Length of the header, as the number that lengths are reckoned with.
pub const LEN_BYTES: u8 = 8;
/// Length of the header.
pub const LEN: usize = LEN_BYTES as usize;
/// IP protocol number.
pub const PROTOCOL: u8 = network_types::ip::IpProto::Udp as u8;

/// Field offsets, by the RFC's names.
pub mod field {
    /// Source port.
    pub const SOURCE_PORT: usize = 0;
    /// Destination port.
    pub const DESTINATION_PORT: usize = 2;
    /// Length of header and data.
    pub const LENGTH: usize = 4;
    /// Checksum; 0 means none was made.
    pub const CHECKSUM: usize = 6;
}
