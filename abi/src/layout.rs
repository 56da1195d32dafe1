//! The two macros that define the contents of all other files.
//!
//! `structs!` declares wire structures with their C name, size and offsets; size and offsets are
//! asserted at compile time. `constants!` declares numbers with their C names. In a test build each
//! of them also generates a test that compares the values with the installed public headers through
//! the C compiler.

/// The C name of a field: the given one, otherwise the Rust name.
macro_rules! c_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $name:literal) => {
        $name
    };
}

macro_rules! structs {
    (header $header:literal; $(
        $(#[$meta:meta])*
        pub struct $name:ident = $c_type:literal [$size:literal] {
            $( $(#[$field_meta:meta])* [$offset:literal] $field:ident: $type:ty $(= $c_field:literal)?, )*
        }
    )*) => {
        $(
            $(#[$meta])*
            #[doc = ""]
            #[doc = concat!("C: `", $c_type, "`, ", $size, " bytes.")]
            #[repr(C)]
            #[derive(Clone, Copy, Debug)]
            #[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
            pub struct $name {
                $(
                    $(#[$field_meta])*
                    #[doc = concat!("`", crate::layout::c_name!($field $($c_field)?), "`, offset ", $offset, ".")]
                    pub $field: $type,
                )*
            }

            const _: () = {
                assert!(size_of::<$name>() == $size);
                $( assert!(core::mem::offset_of!($name, $field) == $offset); )*
            };
        )*

        #[cfg(all(test, not(miri)))]
        #[test]
        fn structs_match_the_c_header() {
            crate::header_check::agree($header, &[
                $(
                    (concat!("sizeof(", $c_type, ")"), $size),
                    $( (
                        concat!("offsetof(", $c_type, ", ", crate::layout::c_name!($field $($c_field)?), ")"),
                        $offset,
                    ), )*
                )*
            ]);
        }
    };
}

macro_rules! constants {
    (header $header:literal; $(
        $(#[$meta:meta])*
        pub mod $module:ident: $type:ty {
            $( $(#[$constant_meta:meta])* $name:ident = $value:expr, $c_name:literal; )*
        }
    )*) => {
        $(
            $(#[$meta])*
            pub mod $module {
                $(
                    $(#[$constant_meta])*
                    #[doc = concat!("`", $c_name, "`.")]
                    pub const $name: $type = $value;
                )*

                /// The C names and values, in the order above.
                pub const NAMES: &[(&str, $type)] = &[$(($c_name, $name)),*];
            }
        )*

        #[cfg(all(test, not(miri)))]
        #[test]
        fn constants_match_the_c_header() {
            crate::header_check::agree($header, &[ $( $( ($c_name, i128::from($module::$name)), )* )* ]);
        }
    };
}

pub(crate) use {c_name, constants, structs};
