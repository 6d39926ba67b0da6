//! Messages and clients generated from `etcd/`.
#![expect(
    clippy::all,
    clippy::as_conversions,
    clippy::enum_variant_names,
    reason = "generated"
)]

pub(crate) mod mvccpb {
    tonic::include_proto!("mvccpb");
}

pub(crate) mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}
