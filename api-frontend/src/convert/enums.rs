//! Each enum that the API and the privilege contract both have: one table, read in both directions.
//!
//! Both matches are exhaustive, so a value that only one side has does not compile.

use prn_ipc_protocol::message::{
    Enforcement, ExitCause, Input, Layer, OutputStore, Overflow, Profile, StopHow, TerminalSize,
    Whom,
};
use prn_ipc_protocol::output::Stream;
use prn_ipc_protocol::types::Millis;
use prn_proto::v1::exit_cause::Kind as ApiCause;
use prn_proto::v1::get_output_response::Type as ApiStream;
use prn_proto::v1::list_request::Order as ApiOrder;
use prn_proto::v1::signal_process_request::Target as ApiTarget;
use prn_proto::v1::{
    DiskEnforcement as ApiEnforcement, Layer as ApiLayer, OutputPolicy as ApiPolicy,
    OutputStore as ApiStore, Profile as ApiProfile, Signal as ApiSignal, StandardInput as ApiInput,
};

use crate::convert::fields::InvalidField;
use crate::mirror::Order;

/// Says which values a field may have.
fn none_of(field: &str, names: &[&str]) -> InvalidField {
    let names = match names {
        [most @ .., last] if !most.is_empty() => format!("{} or {last}", most.join(", ")),
        names => names.concat(),
    };
    InvalidField::new(field, format!("must be {names}"))
}

/// `shown_…` is the API's value of the contract's.
macro_rules! shown {
    (
        $(#[$doc:meta])*
        $shown:ident: $wire:ident = $contract:ident {
            $($w:ident = $c:ident $(($payload:ident))?),+ $(; or $absent:literal)?
        }
    ) => {
        $(#[$doc])*
        pub fn $shown(value: $contract) -> $wire {
            match value {
                $($contract::$c { .. } => $wire::$w,)+
            }
        }
    };
}

/// `asked_…` is the contract's value of what a request has in that field, `None` where it leaves
/// the field out. `or` names what that means, where it is none of the other values.
macro_rules! asked {
    (
        $(#[$doc:meta])*
        $asked:ident($field:literal $(, $argument:ident: $type:ty)?): $wire:ident = $contract:ident {
            $($w:ident = $c:ident $(($payload:ident))?),+ $(; or $absent:literal)?
        }
    ) => {
        $(#[$doc])*
        pub fn $asked(raw: i32 $(, $argument: $type)?) -> Result<Option<$contract>, InvalidField> {
            match $wire::try_from(raw) {
                Ok($wire::Unspecified) => Ok(None),
                $(Ok($wire::$w) => Ok(Some($contract::$c $(($payload))?)),)+
                Err(_) => Err(none_of($field, &[$($wire::$w.as_str_name()),+ $(, $absent)?])),
            }
        }
    };
}

/// Both.
macro_rules! table {
    (
        $(#[$doc:meta])*
        $shown:ident, $asked:ident($($field:tt)*): $wire:ident = $contract:ident { $($rows:tt)* }
    ) => {
        shown! { $(#[$doc])* $shown: $wire = $contract { $($rows)* } }
        asked! { $(#[$doc])* $asked($($field)*): $wire = $contract { $($rows)* } }
    };
}

table! {
    /// How a process is confined.
    shown_profile, asked_profile("profile"): ApiProfile = Profile {
        Default = Default,
        Strict = Strict,
        None = None
    }
}

shown! {
    /// What confines it.
    shown_layer: ApiLayer = Layer {
        Namespaces = Namespaces,
        Landlock = Landlock,
        SystemCallFilter = SystemCallFilter
    }
}

table! {
    /// What a process's standard input is.
    shown_input, asked_input("stdin", size: TerminalSize): ApiInput = Input {
        None = Nothing,
        Pipe = Pipe,
        Terminal = Terminal(size)
    }
}

table! {
    /// What happens when there is more output than is kept.
    shown_policy, asked_policy("output_policy", timeout: Millis): ApiPolicy = Overflow {
        DropOldest = DropOldest,
        StopReading = Wait,
        Kill = Kill,
        Follow = Follow(timeout)
    }
}

table! {
    /// Where output is kept.
    shown_store, asked_store("output_store"): ApiStore = OutputStore {
        Memory = Memory,
        Disk = Disk
    }
}

table! {
    /// The stream that a piece of output was written to.
    shown_stream, asked_stream("only"): ApiStream = Stream {
        Stdout = Stdout,
        Stderr = Stderr;
        or "absent for both"
    }
}

asked! {
    /// How a process is stopped.
    asked_signal("signal", grace: Option<Millis>): ApiSignal = StopHow {
        Sigterm = Graceful(grace),
        Sigkill = Kill
    }
}

asked! {
    /// Who of a process tree gets a signal.
    asked_target("target"): ApiTarget = Whom {
        Main = Main,
        Tree = Tree
    }
}

asked! {
    /// The order of a list.
    asked_order("order"): ApiOrder = Order {
        OldestFirst = OldestFirst,
        NewestFirst = NewestFirst
    }
}

shown! {
    /// What becomes of who takes more of the disk than its workspace may.
    shown_enforcement: ApiEnforcement = Enforcement {
        Quota = Quota,
        Watched = Watched
    }
}

shown! {
    /// Why a main process ended. What else the API can say, clients say of servers.
    shown_cause: ApiCause = ExitCause {
        Exited = Exited,
        Signalled = Signalled,
        OomKilled = OomKilled,
        TimedOut = TimedOut,
        StoppedOnRequest = StoppedOnRequest,
        OutputLimit = OutputLimit,
        DiskLimit = DiskLimit,
        LeaseExpired = LeaseExpired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of which some are no value of any enum here.
    const NUMBERS: std::ops::Range<i32> = -1..20;

    /// Each value of the API comes back, and what is none is refused by its field.
    fn comes_back<T, W: PartialEq + std::fmt::Debug + TryFrom<i32> + Default>(
        field: &str,
        asked: impl Fn(i32) -> Result<Option<T>, InvalidField>,
        shown: impl Fn(T) -> W,
    ) {
        for number in NUMBERS {
            match (W::try_from(number), asked(number)) {
                (Ok(value), Ok(None)) => assert_eq!(value, W::default()),
                (Ok(value), Ok(Some(asked))) => assert_eq!(shown(asked), value),
                (Err(_), Err(invalid)) => assert_eq!(invalid.field, field),
                (Ok(value), Err(invalid)) => panic!("{value:?}: {invalid}"),
                (Err(_), Ok(_)) => panic!("{field}: {number}"),
            }
        }
    }

    #[test]
    fn each_value_that_a_client_can_send_is_shown_as_it_was_sent() {
        let timeout = Millis::try_from(7).unwrap();
        comes_back("profile", asked_profile, shown_profile);
        comes_back(
            "output_policy",
            |raw| asked_policy(raw, timeout),
            shown_policy,
        );
        comes_back("output_store", asked_store, shown_store);
        comes_back("only", asked_stream, shown_stream);
        let size = TerminalSize {
            rows: 2,
            columns: 3,
        };
        comes_back("stdin", |raw| asked_input(raw, size), shown_input);
        let input = asked_input(ApiInput::Terminal.into(), size);
        assert_eq!(input, Ok(Some(Input::Terminal(size))));
        let policy = asked_policy(ApiPolicy::Follow.into(), timeout);
        assert_eq!(policy, Ok(Some(Overflow::Follow(timeout))));
    }

    #[test]
    fn each_signal_and_each_order_is_one_of_the_contract() {
        let shown_signal = |how| match how {
            StopHow::Graceful(None) => ApiSignal::Sigterm,
            StopHow::Kill => ApiSignal::Sigkill,
            StopHow::Graceful(Some(_)) => panic!("it was given no grace"),
        };
        comes_back("signal", |raw| asked_signal(raw, None), shown_signal);
        let shown_order = |order| match order {
            Order::OldestFirst => ApiOrder::OldestFirst,
            Order::NewestFirst => ApiOrder::NewestFirst,
        };
        comes_back("order", asked_order, shown_order);
        let shown_target = |whom| match whom {
            Whom::Main => ApiTarget::Main,
            Whom::Tree => ApiTarget::Tree,
        };
        comes_back("target", asked_target, shown_target);
    }

    #[test]
    fn no_two_causes_are_shown_as_one() {
        let causes = [
            ExitCause::Exited,
            ExitCause::Signalled,
            ExitCause::OomKilled,
            ExitCause::TimedOut,
            ExitCause::StoppedOnRequest,
            ExitCause::OutputLimit,
            ExitCause::DiskLimit,
            ExitCause::LeaseExpired,
        ];
        let shown: std::collections::HashSet<i32> =
            causes.map(|cause| shown_cause(cause).into()).into();
        assert_eq!(shown.len(), causes.len());
        assert!(!shown.contains(&ApiCause::Unspecified.into()));
    }

    #[test]
    fn a_fault_names_the_values_that_there_are() {
        let fault = |asked: Result<Option<Stream>, InvalidField>| asked.unwrap_err().to_string();
        assert_eq!(
            fault(asked_stream(9)),
            "only: must be TYPE_STDOUT, TYPE_STDERR or absent for both"
        );
        assert_eq!(
            asked_signal(9, None).unwrap_err().to_string(),
            "signal: must be SIGNAL_SIGTERM or SIGNAL_SIGKILL"
        );
    }
}
