//! Properties of the pipeline over random packets, with etherparse as the oracle that recomputes every checksum.

mod pipeline {
    pub mod checksums;
    pub mod flows;
    pub mod hostile;
    pub mod oracle;
    pub mod sessions;
    pub mod setting;
}
