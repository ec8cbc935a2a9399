//! TCP (RFC 9293).

/// Length of the header without options.
pub const LEN: usize = 20;
/// IP protocol number.
pub const PROTOCOL: u8 = network_types::ip::IpProto::Tcp as u8;

/// Field offsets, by the RFC's names.
pub mod field {
    /// Source port.
    pub const SOURCE_PORT: usize = 0;
    /// Destination port.
    pub const DESTINATION_PORT: usize = 2;
    /// Data offset in 32-bit words (high four bits).
    pub const DATA_OFFSET: usize = 12;
    /// Control bits.
    pub const FLAGS: usize = 13;
    /// Checksum.
    pub const CHECKSUM: usize = 16;
}

/// Control bit FIN.
pub const FIN: u8 = 0x01;
/// Control bit SYN.
pub const SYN: u8 = 0x02;
/// Control bit RST.
pub const RST: u8 = 0x04;
/// Control bit ACK.
pub const ACK: u8 = 0x10;
