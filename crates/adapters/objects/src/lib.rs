//! Objects in a folder; over a crate that knows other stores as well, such as S3, which differ from it by how they are opened.
//!
//! An object lies at `<area>/<tenant>/<path>`. Its bytes are written beside its place, flushed to the disk and renamed into it,
//! and so is the folder's entry for it; what a killed process left beside a place (`<path>#<number>`) is no object, and goes
//! when the folder is opened a day later.

mod leftovers;

use std::{fmt, ops::Range, path::Path as Folder, sync::Arc};

use async_trait::async_trait;
use bytes::BytesMut;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::{
    Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutPayload, local::LocalFileSystem, path::Path,
};
use profile_domain::{Moment, TenantId};
use profile_ports::{
    BoxError, ObjectError, ObjectKey, Objects,
    objects::{Content, Object, ObjectEntry},
};

/// Bytes that are handed over at once: the least of which S3 takes parts.
const PART: usize = 5 << 20;

/// A store of objects.
pub struct ObjectFolder {
    store: Arc<dyn ObjectStore>,
    limit: u64,
}

impl ObjectFolder {
    /// Opens a folder, which is made if it is missing. Objects may have so many bytes.
    ///
    /// # Errors
    /// It can't be made, or isn't a folder.
    pub fn open(folder: &Folder, limit: u64) -> Result<Self, ObjectError> {
        std::fs::create_dir_all(folder).map_err(|error| ObjectError::Unavailable(error.into()))?;
        leftovers::remove(folder);
        let store = LocalFileSystem::new_with_prefix(folder).map_err(unavailable)?.with_fsync(true);
        Ok(Self { store: Arc::new(store), limit })
    }

    async fn put_parts(&self, place: &Path, first: BytesMut, mut content: Content<BoxError>) -> Result<u64, ObjectError> {
        // Dropped before it is complete, it takes what it has written along.
        let mut upload = self.store.put_multipart(place).await.map_err(unavailable)?;
        let mut size = first.len() as u64;
        let mut part = first;
        loop {
            let ended = match content.try_next().await {
                Ok(Some(piece)) => {
                    size += piece.len() as u64;
                    if size > self.limit {
                        return Err(ObjectError::TooLarge { limit: self.limit });
                    }
                    part.extend_from_slice(&piece);
                    false
                }
                Ok(None) => true,
                Err(error) => return Err(ObjectError::Content(error)),
            };
            while part.len() >= PART || (ended && !part.is_empty()) {
                let next = part.split_to(PART.min(part.len())).freeze();
                upload.put_part(PutPayload::from_bytes(next)).await.map_err(unavailable)?;
            }
            if ended {
                upload.complete().await.map_err(unavailable)?;
                return Ok(size);
            }
        }
    }
}

#[async_trait]
impl Objects for ObjectFolder {
    async fn put(&self, tenant: &TenantId, key: &ObjectKey, mut content: Content<BoxError>) -> Result<u64, ObjectError> {
        let place = place(tenant, key);
        let mut whole = BytesMut::new();
        // What is small goes in one call.
        while let Some(piece) = content.try_next().await.map_err(ObjectError::Content)? {
            whole.extend_from_slice(&piece);
            if whole.len() as u64 > self.limit {
                return Err(ObjectError::TooLarge { limit: self.limit });
            }
            if whole.len() > PART {
                return self.put_parts(&place, whole, content).await;
            }
        }
        let size = whole.len() as u64;
        self.store.put(&place, PutPayload::from_bytes(whole.freeze())).await.map_err(unavailable)?;
        Ok(size)
    }

    async fn get(&self, tenant: &TenantId, key: &ObjectKey, range: Option<Range<u64>>) -> Result<Option<Object>, ObjectError> {
        let place = place(tenant, key);
        if let Some(range) = &range {
            // Asked first, because stores say in different ways that a range begins after the end.
            match self.store.head(&place).await {
                Ok(meta) if range.start >= meta.size => return Err(ObjectError::OutOfRange { size: meta.size }),
                Ok(_) => {}
                Err(Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(unavailable(error)),
            }
        }
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        match self.store.get_opts(&place, options).await {
            Ok(found) => Ok(Some(Object {
                size: found.meta.size,
                range: found.range.clone(),
                put_at: put_at(&found.meta),
                content: found.into_stream().map_err(unavailable).boxed(),
            })),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn delete(&self, tenant: &TenantId, key: &ObjectKey) -> Result<(), ObjectError> {
        match self.store.delete(&place(tenant, key)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn list(&self, area: &str, before: Moment, limit: usize) -> Result<Vec<ObjectEntry>, ObjectError> {
        let old = self.store.list(Some(&Path::from(area))).try_filter_map(async |meta| {
            // What nobody put here by this port is nobody's concern.
            Ok(entry(&meta).filter(|entry| entry.put_at < before && entry.key.area() == area))
        });
        old.take(limit).try_collect().await.map_err(unavailable)
    }
}

fn place(tenant: &TenantId, key: &ObjectKey) -> Path {
    [key.area(), tenant.as_str()].into_iter().chain(key.path().split('/')).collect()
}

fn entry(meta: &ObjectMeta) -> Option<ObjectEntry> {
    let mut parts = meta.location.as_ref().splitn(3, '/');
    let (area, tenant, path) = (parts.next()?, parts.next()?, parts.next()?);
    Some(ObjectEntry {
        tenant: TenantId::parse(tenant).ok()?,
        key: ObjectKey::parse(&format!("{area}/{path}")).ok()?,
        size: meta.size,
        put_at: put_at(meta),
    })
}

fn put_at(meta: &ObjectMeta) -> Moment {
    Moment::from_micros(meta.last_modified.timestamp_micros())
}

fn unavailable(error: Error) -> ObjectError {
    ObjectError::Unavailable(error.into())
}

impl fmt::Debug for ObjectFolder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ObjectFolder").field("store", &self.store).field("limit", &self.limit).finish()
    }
}
