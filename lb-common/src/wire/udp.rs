//! UDP (RFC 768).

/// Length of the header.
pub const LEN: usize = 8;
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
