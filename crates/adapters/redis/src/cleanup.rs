//! Deleting what is old, slowly.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use profile_ports::CacheError;
use redis::{Pipeline, Value};
use tokio::time::Instant;

use crate::{
    client::{Client, refused, senseless},
    entry,
};

/// Keys that one `SCAN` looks at.
const BATCH: u32 = 100;
/// Nobody waits for it as for a read.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How far a cleanup is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Servers that were gone through.
    pub servers: usize,
    /// Entries looked at.
    pub seen: u64,
    /// Of these, entries deleted.
    pub deleted: u64,
}

impl Client {
    pub(crate) async fn cleanup(
        self: &Arc<Self>,
        older_than: Duration,
        per_second: NonZeroU32,
        mut progress: impl FnMut(Cleaned) + Send,
    ) -> Result<Cleaned, CacheError> {
        let mut cleaned = Cleaned::default();
        let masters = self.masters().await;
        if masters.is_empty() {
            return Err(CacheError::Unavailable(crate::client::Senseless("no node tells who the masters are").into()));
        }
        for master in masters {
            let mut cursor = b"0".to_vec();
            loop {
                let began = Instant::now();
                cursor = self.clean(master, &cursor, older_than, &mut cleaned).await?;
                progress(cleaned);
                if cursor == b"0" {
                    break;
                }
                let pause = Duration::from_secs(1) * BATCH / per_second.get();
                tokio::time::sleep(pause.saturating_sub(began.elapsed())).await;
            }
            cleaned.servers += 1;
        }
        progress(cleaned);
        Ok(cleaned)
    }

    /// One batch. Gives where to go on.
    async fn clean(
        &self,
        master: usize,
        cursor: &[u8],
        older_than: Duration,
        cleaned: &mut Cleaned,
    ) -> Result<Vec<u8>, CacheError> {
        let mut scan = Pipeline::with_capacity(2);
        scan.cmd("TIME");
        scan.cmd("SCAN").arg(cursor).arg("MATCH").arg(self.names.pattern()).arg("COUNT").arg(BATCH);
        let answers = self.tell(master, &scan).await?;
        let [Value::Array(time), Value::Array(page)] = &answers[..] else { return Err(unknown()) };
        let ([seconds, micros], [Value::BulkString(cursor), Value::Array(keys)]) = (&time[..], &page[..]) else {
            return Err(unknown());
        };
        let number = |value| as_bytes(value).and_then(|text| str::from_utf8(text).ok()?.parse::<u64>().ok());
        let now = number(seconds).map(Duration::from_secs).zip(number(micros).map(Duration::from_micros));
        let (seconds, micros) = now.ok_or_else(unknown)?;
        let before = (seconds + micros).saturating_sub(older_than).as_millis();
        let keys: Vec<&[u8]> = keys.iter().filter_map(as_bytes).filter(|key| self.names.is_entry(key)).collect();
        if keys.is_empty() {
            return Ok(cursor.clone());
        }
        let mut look = Pipeline::with_capacity(keys.len());
        for key in &keys {
            look.cmd("GETRANGE").arg(*key).arg(0).arg(entry::HEAD - 1);
        }
        let heads = self.tell(master, &look).await?;
        let mut delete = Pipeline::new();
        for (key, head) in keys.iter().zip(&heads) {
            // What is no entry lies there for nobody. One that moved is another master's.
            let old = match head {
                Value::BulkString(head) => entry::written_at(head).is_none_or(|written_at| u128::from(written_at) <= before),
                other => crate::client::is_of_another_type(other),
            };
            if old {
                delete.cmd("UNLINK").arg(*key);
            }
        }
        cleaned.seen += keys.len() as u64;
        if !delete.is_empty() {
            let gone = self.tell(master, &delete).await?;
            cleaned.deleted += gone.iter().filter(|gone| matches!(gone, Value::Int(1))).count() as u64;
        }
        Ok(cursor.clone())
    }

    async fn tell(&self, master: usize, pipeline: &Pipeline) -> Result<Vec<Value>, CacheError> {
        let answers = self.send(master, Instant::now() + TIMEOUT, pipeline).await?;
        match answers.first() {
            Some(Value::ServerError(error)) if !crate::client::is_of_another_type(&answers[0]) && answers.len() <= 2 => {
                Err(refused(error))
            }
            _ => Ok(answers),
        }
    }
}

fn unknown() -> CacheError {
    senseless("TIME or SCAN answered in an unknown form")
}

fn as_bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}
