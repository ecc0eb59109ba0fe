//! Numbers of `linux/netfilter/nf_tables.h` that the `libc` crate lacks.

/// `NFPROTO_INET`, the family of our table.
pub(crate) const FAMILY: u8 = 1;

/// `NFTA_LIST_ELEM`: an element of a list.
pub(crate) const LIST_ELEM: u16 = 1;

/// `enum nft_table_attributes`.
pub(crate) mod table {
    pub(crate) const NAME: u16 = 1;
    pub(crate) const FLAGS: u16 = 2;
    /// Number of chains, sets and other objects.
    pub(crate) const USES: u16 = 3;
    /// `NFT_TABLE_F_DORMANT`: the base chains are not attached to hooks.
    pub(crate) const DORMANT: u32 = 1;
    /// `NFT_TABLE_F_OWNER`: only the socket that created it may change it; the table is deleted with the socket (5.12).
    pub(crate) const OWNED: u32 = 2;
    /// `NFT_TABLE_F_PERSIST`: it outlives its owner, and another socket can own it afterwards (6.9).
    pub(crate) const PERSIST: u32 = 4;
    /// Port id of the owner.
    pub(crate) const OWNER: u16 = 7;
}

/// `enum nft_chain_attributes` and `nft_hook_attributes`.
pub(crate) mod chain {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const NAME: u16 = 3;
    pub(crate) const HOOK: u16 = 4;
    pub(crate) const POLICY: u16 = 5;
    pub(crate) const TYPE: u16 = 7;
    pub(crate) const FLAGS: u16 = 10;
    /// `NFT_CHAIN_BINDING`: an anonymous chain of a rule.
    pub(crate) const BINDING: u32 = 4;
    pub(crate) const HOOK_NUMBER: u16 = 1;
    pub(crate) const HOOK_PRIORITY: u16 = 2;
}

/// `enum nft_object_attributes`.
pub(crate) mod object {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const NAME: u16 = 2;
    pub(crate) const KIND: u16 = 3;
}

/// `enum nft_rule_attributes`.
pub(crate) mod rule {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const CHAIN: u16 = 2;
    pub(crate) const EXPRESSIONS: u16 = 4;
}

/// `enum nft_expr_attributes` and `nft_counter_attributes`.
pub(crate) mod expr {
    pub(crate) const NAME: u16 = 1;
    pub(crate) const DATA: u16 = 2;
    pub(crate) const COUNTER_BYTES: u16 = 1;
    pub(crate) const COUNTER_PACKETS: u16 = 2;
}

/// `enum nft_set_attributes`, `nft_set_desc_attributes` and `nft_set_flags`.
pub(crate) mod set {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const NAME: u16 = 2;
    pub(crate) const FLAGS: u16 = 3;
    pub(crate) const KEY_TYPE: u16 = 4;
    pub(crate) const KEY_LEN: u16 = 5;
    pub(crate) const DATA_TYPE: u16 = 6;
    pub(crate) const DATA_LEN: u16 = 7;
    pub(crate) const POLICY: u16 = 8;
    pub(crate) const DESC: u16 = 9;
    pub(crate) const ID: u16 = 10;
    pub(crate) const TIMEOUT: u16 = 11;
    pub(crate) const GC_INTERVAL: u16 = 12;
    pub(crate) const USERDATA: u16 = 13;
    pub(crate) const EXPR: u16 = 17;
    pub(crate) const EXPRESSIONS: u16 = 18;
    pub(crate) const DESC_SIZE: u16 = 1;
    pub(crate) const DESC_CONCAT: u16 = 2;
    /// `NFTA_SET_FIELD_LEN`.
    pub(crate) const FIELD_LENGTH: u16 = 1;
    pub(crate) const ANONYMOUS: u32 = 1;
    pub(crate) const INTERVAL: u32 = 4;
    pub(crate) const MAP: u32 = 8;
    pub(crate) const TIMEOUTS: u32 = 0x10;
    /// `NFT_SET_EVAL`: rules add elements.
    pub(crate) const EVAL: u32 = 0x20;
    /// `NFT_SET_CONCAT`: the parts of a concatenation can be ranges.
    pub(crate) const CONCATENATED: u32 = 0x80;
}

/// `enum nft_set_elem_list_attributes`, `nft_set_elem_attributes` and `nft_set_elem_flags`.
pub(crate) mod element {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const SET: u16 = 2;
    pub(crate) const ELEMENTS: u16 = 3;
    pub(crate) const KEY: u16 = 1;
    pub(crate) const DATA: u16 = 2;
    pub(crate) const FLAGS: u16 = 3;
    pub(crate) const EXPR: u16 = 7;
    pub(crate) const KEY_END: u16 = 10;
    /// `NFT_SET_ELEM_CATCHALL`.
    pub(crate) const CATCHALL: u32 = 2;
}

/// `enum nft_data_attributes`, `nft_verdict_attributes` and `nft_data_types`.
pub(crate) mod data {
    pub(crate) const VALUE: u16 = 1;
    pub(crate) const VERDICT: u16 = 2;
    pub(crate) const VERDICT_CODE: u16 = 1;
    pub(crate) const VERDICT_CHAIN: u16 = 2;
    /// `NFT_DATA_VERDICT`.
    pub(crate) const TYPE_VERDICT: u32 = 0xffff_ff00;
    /// `NFT_GOTO`.
    pub(crate) const GOTO: u32 = -4_i32 as u32;
}

/// `enum nfnl_batch_attributes`.
pub(crate) mod batch {
    pub(crate) const GENERATION: u16 = 1;
}

/// `enum nft_gen_attributes`.
pub(crate) mod generation {
    pub(crate) const ID: u16 = 1;
    pub(crate) const PROCESS_ID: u16 = 2;
    pub(crate) const PROCESS_NAME: u16 = 3;
}
