//! Lists of processes: what is asked for, and the answer page by page.

use prn_proto::units::When;
use prn_proto::v1;

use crate::client::Client;
use crate::error::ClientError;
use crate::process::{PROCESSES_MAX, Process, State};
use crate::selector::Selector;
use crate::wire::to_wire_when;

/// Which processes are asked for, and how. The default is all of them, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListRequest {
    /// Those in this state alone.
    pub state: Option<State>,
    /// Those alone that this selects.
    pub selector: Option<Selector>,
    /// Those alone that started at this time or later.
    pub started_since: Option<When>,
    /// Those alone that started before this time.
    pub started_before: Option<When>,
    /// Those alone that ended at this time or later.
    pub ended_since: Option<When>,
    /// Those alone that ended before this time.
    pub ended_before: Option<When>,
    /// Newest first, not oldest first.
    pub newest_first: bool,
    /// With [`argv`](crate::ProcessStatus::argv), which is left empty otherwise.
    pub with_argv: bool,
    /// Most processes of a page. `None` is as many as the server gives.
    pub page_size: Option<u32>,
}

/// Asked for where the caller does not say. A server that has less room cuts it.
const PAGE_SIZE: i32 = 1000;

impl ListRequest {
    fn message(&self, page_token: String) -> Result<v1::ListRequest, ClientError> {
        let order = if self.newest_first {
            v1::list_request::Order::NewestFirst
        } else {
            v1::list_request::Order::OldestFirst
        };
        Ok(v1::ListRequest {
            page_size: self.page_size.map_or(PAGE_SIZE, |size| {
                i32::try_from(size.max(1)).unwrap_or(i32::MAX)
            }),
            page_token,
            state: State::to_wire(self.state).into(),
            started_since: self.started_since.map(to_wire_when).transpose()?,
            started_before: self.started_before.map(to_wire_when).transpose()?,
            ended_since: self.ended_since.map(to_wire_when).transpose()?,
            ended_before: self.ended_before.map(to_wire_when).transpose()?,
            order: order.into(),
            with_argv: self.with_argv,
            selector: self.selector.clone().map(Into::into),
        })
    }
}

impl Client {
    /// All processes that the server knows, oldest first.
    ///
    /// # Errors
    /// As [`Pages::next`].
    pub async fn list(&self) -> Result<Vec<Process>, ClientError> {
        let mut pages = self.pages(ListRequest {
            with_argv: true,
            ..ListRequest::default()
        });
        let mut all = Vec::new();
        while let Some(page) = pages.next().await? {
            all.extend(page);
        }
        Ok(all)
    }

    /// Some of them, or another order, page by page.
    pub fn pages(&self, request: ListRequest) -> Pages {
        Pages::new(self.clone(), request)
    }
}

/// A list on its way, a call for each page.
#[derive(Debug)]
pub struct Pages {
    client: Client,
    request: ListRequest,
    next: Next,
    /// How many more may come. A page counts as one at least.
    left: usize,
}

#[derive(Debug)]
enum Next {
    /// The page of this token; the first one has an empty one.
    Page(String),
    None,
}

impl Pages {
    fn new(client: Client, request: ListRequest) -> Self {
        Self {
            client,
            request,
            next: Next::Page(String::new()),
            left: PROCESSES_MAX,
        }
    }

    /// The next page; `None` after the last one. After an error it can be asked for again.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if the request contradicts itself, or the server was restarted
    /// since the first page. [`ClientError::Protocol`] if the list does not end.
    pub async fn next(&mut self) -> Result<Option<Vec<Process>>, ClientError> {
        let Next::Page(token) = &self.next else {
            return Ok(None);
        };
        let message = self.request.message(token.clone())?;
        let within = self.client.call_timeout;
        let response = self
            .client
            .repeatable(within, message, |mut service, request| async move {
                service.list(request).await
            })
            .await?;
        let processes = response
            .processes
            .into_iter()
            .map(Process::try_from)
            .collect::<Result<Vec<_>, _>>()?;
        self.left = self
            .left
            .checked_sub(processes.len().max(1))
            .ok_or(ClientError::Protocol("the server's list has no end"))?;
        self.next = if response.next_page_token.is_empty() {
            Next::None
        } else {
            Next::Page(response.next_page_token)
        };
        Ok(Some(processes))
    }
}
