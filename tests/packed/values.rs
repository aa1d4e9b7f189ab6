//! Every kind of value there is comes back.

use std::fmt::Debug;
use std::sync::Arc;

use larder::{ByteValue, Cache, PackedCache};

use crate::codecs::{codecs, noise, text};

fn comes_back<V: ByteValue + Clone + PartialEq + Debug + Send + Sync + 'static>(values: impl IntoIterator<Item = V>) {
    let values: Vec<V> = values.into_iter().collect();
    for (name, codec) in codecs() {
        let cache: PackedCache<usize, V> = Cache::builder().max_entries(64).codec(codec).build().unwrap();
        for (number, value) in values.iter().enumerate() {
            cache.insert(number, value.clone());
            assert_eq!(cache.get(&number).as_ref(), Some(value), "{name}");
            assert_eq!(cache.remove(&number).as_ref(), Some(value), "{name}");
        }
        assert_eq!(cache.stats().damaged, 0);
    }
}

#[test]
fn bytes_come_back() {
    let values = || [vec![], vec![1], noise(1, 255), noise(2, 5000), text(3, 256).into_bytes(), vec![0; 100_000]];
    comes_back(values());
    comes_back(values().map(Vec::into_boxed_slice));
    comes_back(values().map(Arc::<[u8]>::from));
    comes_back([[7_u8; 300]]);
}

#[test]
fn text_comes_back() {
    let values = || [String::new(), "ü".to_owned(), text(1, 255), text(2, 20_000), "ß€😀".repeat(200)];
    comes_back(values());
    comes_back(values().map(String::into_boxed_str));
    comes_back(values().map(Arc::<str>::from));
}

#[cfg(feature = "bytes")]
#[test]
fn shared_bytes_come_back() {
    comes_back([bytes::Bytes::new(), noise(1, 3000).into(), vec![1; 3000].into()]);
}

#[cfg(feature = "serde")]
mod with_serde {
    use std::collections::BTreeMap;

    use larder::BySerde;
    use larder::codec::CodecError;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Document {
        Empty,
        Number(f64),
        Text { title: String, paragraphs: Vec<String> },
        Map(BTreeMap<u32, Option<Document>>),
    }

    #[test]
    fn whatever_serde_writes_comes_back() {
        let paragraphs = (0..50).map(|number| text(number, 100)).collect();
        let large = Document::Text { title: "a long one".to_owned(), paragraphs };
        let map = Document::Map([(1, None), (2, Some(large.clone())), (3, Some(Document::Number(0.5)))].into());
        for (name, codec) in codecs() {
            let cache: PackedCache<u64, Document, BySerde> =
                Cache::builder().max_bytes(1 << 20).codec_serde(codec).build().unwrap();
            for document in [&Document::Empty, &Document::Number(1.5), &large, &map] {
                cache.insert(1, document.clone());
                assert_eq!(cache.get(&1).as_ref(), Some(document), "{name}");
                assert_eq!(cache.iter().next().as_deref(), Some(document), "{name}");
            }
        }
    }

    /// Writes what it can't read, or nothing at all.
    #[derive(Clone, Debug, PartialEq)]
    enum Odd {
        Unwritable,
        Unreadable,
    }

    impl Serialize for Odd {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self {
                Odd::Unwritable => Err(serde::ser::Error::custom("not today")),
                Odd::Unreadable => serializer.serialize_u8(9),
            }
        }
    }

    impl<'de> Deserialize<'de> for Odd {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            u8::deserialize(deserializer)?;
            Err(serde::de::Error::custom("nobody can read that"))
        }
    }

    #[test]
    fn values_that_serde_refuses_are_errors() {
        for (name, codec) in codecs() {
            let cache: PackedCache<u64, Odd, BySerde> =
                Cache::builder().max_bytes(1 << 20).codec_serde(codec).record_stats().build().unwrap();
            let error = cache.try_insert(1, Odd::Unwritable).unwrap_err();
            assert!(matches!(
                error,
                larder::NotStored::Unpackable { key: 1, value: Odd::Unwritable, error: CodecError::Refused { .. } }
            ));
            cache.insert(1, Odd::Unreadable);
            assert_eq!(cache.len(), 1, "{name}");
            assert!(matches!(cache.try_get(&1), Err(CodecError::Damaged { .. })), "{name}");
            cache.insert(1, Odd::Unreadable);
            assert_eq!(cache.get(&1), None, "{name}");
            let stats = cache.stats();
            assert_eq!((stats.hits, stats.misses, stats.damaged, stats.rejected), (0, 2, 2, 1), "{name}");
            assert!(cache.is_empty(), "{name}");
        }
    }
}
