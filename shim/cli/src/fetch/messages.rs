//! The few fields of containerd's messages that are asked for (`api/services/{containers,images,
//! content}/v1`, `api/types/descriptor.proto`, unchanged from 1.7 to 2.4). Written by hand, since
//! generating them takes `protoc`.

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ContainerRequest {
    #[prost(string, tag = "1")]
    pub(super) id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ContainerResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) container: Option<Container>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Container {
    #[prost(string, tag = "3")]
    pub(super) image: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ImageRequest {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ImageResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) image: Option<Image>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Image {
    #[prost(message, optional, tag = "3")]
    pub(super) target: Option<Target>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Target {
    #[prost(string, tag = "2")]
    pub(super) digest: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ReadRequest {
    #[prost(string, tag = "1")]
    pub(super) digest: String,
    #[prost(int64, tag = "2")]
    pub(super) offset: i64,
    #[prost(int64, tag = "3")]
    pub(super) size: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ReadResponse {
    #[prost(bytes = "vec", tag = "2")]
    pub(super) data: Vec<u8>,
}
