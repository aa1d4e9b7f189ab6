//! How a client says who it is: memcached's text form, and SASL PLAIN.
//!
//! Knows what may be said before that, and how often. Who is known is the [`Host`](super::Host)'s to say. A client that
//! tries again and fails is unknown again, whatever it was before.

use crate::server::answer::Answer;
use crate::server::conversation::Conversation;
use crate::server::output::Output;
use crate::server::protocol::binary::{self, Header, Status};
use crate::server::protocol::{Form, MAX_LINE, Parsed, Request, Scratch, Words, line, text};
use crate::server::service::Event;

/// The longest data block of somebody who is not known: nobody has a name or a password so long.
pub(super) const MAX_CREDENTIALS: usize = 1024;

const UNKNOWN: &str = "CLIENT_ERROR unauthenticated";

impl<'s> Conversation<'s> {
    /// A request in text of somebody who is not known: a `set` whose data block is `user password`, or nothing that counts.
    pub(super) fn introduction(
        &mut self,
        input: &[u8],
        scratch: &mut Scratch,
        output: &mut Output<'s>,
    ) -> Option<usize> {
        let Some((_, used)) = line(input).filter(|(_, used)| *used <= MAX_LINE) else {
            self.is_over = input.len() >= MAX_LINE;
            return None;
        };
        let parsed = text::parse(&input[..used], scratch);
        let block = match parsed {
            Parsed::Complete { request: Request::Store(store, Form::Text { .. }), block, .. }
                if store.is_plain_set() =>
            {
                block
            }
            _ => {
                output.put_line(UNKNOWN);
                self.note_refusal();
                return Some(used);
            }
        };
        if block > MAX_CREDENTIALS {
            output.put_line("CLIENT_ERROR bad authentication token format");
            self.is_over = true;
            return Some(used);
        }
        let Some(data) = input[used..].get(..block) else { return self.await_block(input, used, block) };
        self.present(data, output);
        Some(used + block)
    }

    /// A request of somebody who is not known, of which `introduction` or the opcode has shown that it is one for them.
    pub(super) fn carry_out_unknown(&mut self, request: Request<'_>, block: &[u8], output: &mut Output<'s>) {
        match request {
            Request::Store(_, Form::Text { .. }) => self.present(block, output),
            Request::Authenticate { mechanism, form } => self.authenticate(mechanism, form, block, output),
            request => Answer::new(self.service, output).request(request, block),
        }
    }

    /// Looks at the credentials in a data block.
    fn present(&mut self, block: &[u8], output: &mut Output<'s>) {
        let Ok(given) = text::check_block(block) else {
            output.put_line("CLIENT_ERROR bad command line termination");
            return self.note_refusal();
        };
        let mut words = Words::new(given);
        let (Some(user), Some(password)) = (words.next(), words.next()) else {
            output.put_line("CLIENT_ERROR bad authentication token format");
            return self.note_refusal();
        };
        self.recognize(user, password);
        output.put_line(if self.is_known { "STORED" } else { "CLIENT_ERROR authentication failure" });
    }

    /// A step of SASL. PLAIN has one: on whose behalf, who, and the password, with zeros between.
    pub(super) fn authenticate(&mut self, mechanism: &[u8], form: Header, block: &[u8], output: &mut Output<'s>) {
        if !self.service.host.asks_for_credentials() {
            return binary::put_status(output.bytes(), form, Status::UnknownCommand);
        }
        let mut parts = block.splitn(3, |&byte| byte == 0).skip(1);
        match (mechanism, form.opcode, parts.next(), parts.next()) {
            (b"PLAIN", binary::opcode::SASL_AUTH, Some(user), Some(password)) => self.recognize(user, password),
            _ => {
                self.is_known = false;
                self.note_refusal();
            }
        }
        if self.is_known {
            binary::put_value(output.bytes(), form, 0, b"Authenticated");
        } else {
            binary::put_status(output.bytes(), form, Status::AuthError);
        }
    }

    fn recognize(&mut self, user: &[u8], password: &[u8]) {
        self.service.count(Event::Authentication);
        self.is_known = self.service.host.knows(user, password);
        if !self.is_known {
            self.service.count(Event::AuthenticationError);
            self.note_refusal();
        }
    }

    /// Counts what was in vain, and gives up at some number.
    fn note_refusal(&mut self) {
        self.service.count(Event::Refused);
        self.refusals += 1;
        self.is_over = self.refusals > self.service.max_refusals;
    }
}
