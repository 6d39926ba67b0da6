//! Messages and clients generated from `etcd/`.
#![expect(clippy::all, reason = "generated")]

pub(crate) mod mvccpb {
    tonic::include_proto!("mvccpb");
}

pub(crate) mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}
