//! Credentials for a metric source, from the files of a mounted Secret.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

/// What a file's name starts with that holds the value of a header, as in `header.X-Scope-OrgID`.
const HEADER: &str = "header.";

/// A directory of credentials that can't be used. Never says what is in a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    #[error("credentials {}: {reason}; is the Secret mounted, and may the controller read it?", path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error("credentials {}: there is `{found}` but no `{missing}`; add it to the Secret", directory.display())]
    Half { directory: PathBuf, found: &'static str, missing: &'static str },
    #[error("credentials {}: there are both `token` and `username`; remove one from the Secret", directory.display())]
    Both { directory: PathBuf },
    #[error("credentials {}: {problem}", path.display())]
    Invalid { path: PathBuf, problem: &'static str },
}

/// What goes with each request, and what the connection is made with.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) headers: HeaderMap,
    pub(super) login: Option<Login>,
    /// The only authorities to trust, in PEM; the system's if absent.
    pub(super) authorities: Option<Vec<u8>>,
    /// The client's certificate and key, in PEM.
    pub(super) identity: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) username: String,
    pub(super) password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// Reads `token`, or `username` and `password`; `ca.crt`; `tls.crt` and `tls.key`; and
    /// `header.<Name>`. Other files are left alone. A line end after a value is not part of it.
    ///
    /// Reads without waiting for anything: a mounted Secret is in memory.
    pub(super) fn read(directory: &Path) -> Result<Self, CredentialsError> {
        let file = |name: &str| optional(&directory.join(name));
        let half = |found, missing| CredentialsError::Half {
            directory: directory.to_owned(),
            found,
            missing,
        };
        let mut headers = headers(directory)?;
        let login = match (file("token")?, file("username")?, file("password")?) {
            (None, None, None) => None,
            (Some(token), None, None) => {
                let value = [b"Bearer ", token.trim_ascii_end()].concat();
                headers.insert(AUTHORIZATION, header_value(&directory.join("token"), &value)?);
                None
            }
            (None, Some(username), Some(password)) => Some(Login {
                username: text(&directory.join("username"), &username)?,
                password: text(&directory.join("password"), &password)?,
            }),
            (Some(_), _, _) => {
                return Err(CredentialsError::Both { directory: directory.to_owned() });
            }
            (None, Some(_), None) => return Err(half("username", "password")),
            (None, None, Some(_)) => return Err(half("password", "username")),
        };
        let identity = match (file("tls.crt")?, file("tls.key")?) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some([certificate, b"\n".to_vec(), key].concat()),
            (Some(_), None) => return Err(half("tls.crt", "tls.key")),
            (None, Some(_)) => return Err(half("tls.key", "tls.crt")),
        };
        Ok(Self { headers, login, authorities: file("ca.crt")?, identity })
    }
}

fn headers(directory: &Path) -> Result<HeaderMap, CredentialsError> {
    let mut headers = HeaderMap::new();
    for entry in fs::read_dir(directory).map_err(|error| unreadable(directory, &error))? {
        let path = entry.map_err(|error| unreadable(directory, &error))?.path();
        let file_name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(name) = file_name.strip_prefix(HEADER) else { continue };
        let Ok(name) = HeaderName::try_from(name) else {
            let problem = "what follows `header.` in the file's name is no header name";
            return Err(CredentialsError::Invalid { path, problem });
        };
        // It was listed a moment ago; a Secret that changes just now is read again next time.
        let value = optional(&path)?.unwrap_or_default();
        headers.insert(name, header_value(&path, value.trim_ascii_end())?);
    }
    Ok(headers)
}

fn header_value(path: &Path, value: &[u8]) -> Result<HeaderValue, CredentialsError> {
    let problem = "the value can't be sent in a header: it holds a line end or a control character";
    let mut value = HeaderValue::from_bytes(value)
        .map_err(|_| CredentialsError::Invalid { path: path.to_owned(), problem })?;
    value.set_sensitive(true);
    Ok(value)
}

fn optional(path: &Path) -> Result<Option<Vec<u8>>, CredentialsError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> CredentialsError {
    CredentialsError::Unreadable { path: path.to_owned(), reason: error.to_string() }
}

fn text(path: &Path, value: &[u8]) -> Result<String, CredentialsError> {
    str::from_utf8(value.trim_ascii_end()).map(str::to_owned).map_err(|_| {
        CredentialsError::Invalid { path: path.to_owned(), problem: "the value is not UTF-8" }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of its own for each test, with the files as a Secret is mounted: behind a link.
    fn secret(test: &str, files: &[(&str, &str)]) -> PathBuf {
        let directory =
            std::env::temp_dir().join(format!("tidegate-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("..data")).unwrap();
        for (name, content) in files {
            fs::write(directory.join("..data").join(name), content).unwrap();
            std::os::unix::fs::symlink(Path::new("..data").join(name), directory.join(name))
                .unwrap();
        }
        directory
    }

    #[test]
    fn each_file_has_its_use() {
        let token = secret("token", &[("token", "s3cret\n"), ("header.X-Scope-OrgID", "shop\n")]);
        let read = Credentials::read(&token).unwrap();
        assert_eq!(read.headers["authorization"], "Bearer s3cret");
        assert_eq!(read.headers["x-scope-orgid"], "shop");
        assert!(read.headers.values().all(HeaderValue::is_sensitive));

        let login = secret("login", &[("username", "me"), ("password", "pass:word\n")]);
        let read = Credentials::read(&login).unwrap().login.unwrap();
        assert_eq!((read.username.as_str(), read.password.as_str()), ("me", "pass:word"));

        let tls = secret("tls", &[("ca.crt", "CA"), ("tls.crt", "CERT"), ("tls.key", "KEY")]);
        let read = Credentials::read(&tls).unwrap();
        assert_eq!(read.authorities.as_deref(), Some(&b"CA"[..]));
        assert_eq!(read.identity.as_deref(), Some(&b"CERT\nKEY"[..]));

        let other = secret("other", &[("notes", "hello")]);
        assert!(Credentials::read(&other).unwrap() == Credentials::default());
    }

    #[test]
    fn what_cannot_be_used_is_named_and_not_shown() {
        #[track_caller]
        fn refused(test: &str, files: &[(&str, &str)], message: &str) {
            let directory = secret(test, files);
            let error = Credentials::read(&directory).unwrap_err().to_string();
            assert_eq!(error.replace(&directory.display().to_string(), "DIR"), message);
        }
        refused(
            "user",
            &[("username", "me")],
            "credentials DIR: there is `username` but no `password`; add it to the Secret",
        );
        refused(
            "key",
            &[("tls.key", "KEY")],
            "credentials DIR: there is `tls.key` but no `tls.crt`; add it to the Secret",
        );
        refused(
            "both",
            &[("token", "t"), ("username", "me")],
            "credentials DIR: there are both `token` and `username`; remove one from the Secret",
        );
        refused(
            "line",
            &[("token", "s3cret\nmore")],
            "credentials DIR/token: the value can't be sent in a header: it holds a line end or a \
             control character",
        );
        refused(
            "name",
            &[("header.a b", "x")],
            "credentials DIR/header.a b: what follows `header.` in the file's name is no header \
             name",
        );
        let missing = Credentials::read(Path::new("/nonexistent/secret")).unwrap_err().to_string();
        assert!(missing.contains("is the Secret mounted"), "{missing}");
    }
}
