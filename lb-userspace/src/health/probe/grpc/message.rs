//! The two messages of the health service and how they are framed.

use hyper::body::Bytes;
use prost::Message;

/// Flag and length before each message.
const PREFIX_BYTES: usize = 5;

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    /// Empty for the server as a whole.
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    status: i32,
}

/// `grpc.health.v1.HealthCheckResponse.ServingStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(super) enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

/// The body of the request.
pub(super) fn request(service: &str) -> Bytes {
    let message = HealthCheckRequest { service: service.to_owned() }.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = Vec::with_capacity(PREFIX_BYTES + message.len());
    framed.push(0);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(&message);
    framed.into()
}

/// What the body of an answer, which is one message, says; or the number of a status that is not known.
pub(super) fn status(body: &[u8]) -> Result<Result<ServingStatus, i32>, String> {
    let Some((&[compressed, a, b, c, d], message)) = body.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(format!("a gRPC message of {} bytes, which has at least {PREFIX_BYTES}", body.len()));
    };
    if compressed != 0 {
        return Err(
            "a gRPC message that is compressed, though the probe did not say that it may be".to_owned()
        );
    }
    let length = u32::from_be_bytes([a, b, c, d]);
    if u32::try_from(message.len()) != Ok(length) {
        return Err(format!("a gRPC message that says {length} bytes and has {}", message.len()));
    }
    let response = HealthCheckResponse::decode(message)
        .map_err(|error| format!("a gRPC message that is no HealthCheckResponse: {error}"))?;
    Ok(ServingStatus::try_from(response.status).map_err(|_| response.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_framed_as_the_protocol_says() {
        assert_eq!(&request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&request("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
    }

    #[test]
    fn answers_are_one_whole_message() {
        let serving = [0, 0, 0, 0, 2, 8, 1];
        assert_eq!(status(&serving), Ok(Ok(ServingStatus::Serving)));
        assert_eq!(status(&[0, 0, 0, 0, 0]), Ok(Ok(ServingStatus::Unknown)), "0 is not written");
        assert_eq!(status(&[0, 0, 0, 0, 2, 8, 3]), Ok(Ok(ServingStatus::ServiceUnknown)));
        assert_eq!(status(&[0, 0, 0, 0, 2, 8, 9]), Ok(Err(9)));
        for (body, error) in [
            (&serving[..4], "a gRPC message of 4 bytes, which has at least 5"),
            (&serving[..6], "a gRPC message that says 2 bytes and has 1"),
            (&[0, 0, 0, 0, 2, 8, 1, 0], "a gRPC message that says 2 bytes and has 3"),
            (&[0, 0xff, 0xff, 0xff, 0xff, 8, 1], "a gRPC message that says 4294967295 bytes and has 2"),
            (
                &[1, 0, 0, 0, 0],
                "a gRPC message that is compressed, though the probe did not say that it may be",
            ),
        ] {
            assert_eq!(status(body), Err(error.to_owned()));
        }
        let error = status(&[0, 0, 0, 0, 2, 8, 0x80]).unwrap_err();
        assert!(error.starts_with("a gRPC message that is no HealthCheckResponse: "), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(body: Vec<u8>) {
            let _ = status(&body);
        }
    }
}
