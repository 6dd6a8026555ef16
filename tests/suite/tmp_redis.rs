use sessile::{store::RedisStore, store_conformance};
store_conformance!(redis, || async {
    RedisStore::connect("redis://127.0.0.1:7777/")
        .await
        .unwrap()
});
