{{ config(
    materialized='incremental',
    incremental_strategy='append',
    indexes=[{'columns': ['surviving_key']}, {'columns': ['merged_key']}],
    pre_hook="{% if is_incremental() %}delete from {{ this }} where {{ is_new() }}{% endif %}",
) }}

-- The one place where merges of all systems meet. Kept as a table, so that no batch reads everything a MAP told for them; what an attempt
-- that died had appended goes first.
with stated as (
    {{ union_by_name([ref('stg_events__merges'), ref('stg_hubspot__merges'), ref('stg_marketo__merges')]) }}
),

-- Salesforce tells a merge by the record it deletes: whole versions say into which record it went, or no more that it did.
versions as (
    select
        system,
        record_key,
        record_id,
        nullif(master_record_id, record_id) as master_record_id,
        version_order,
        occurred_at,
        received_at,
        seq,
        load_id,
    from {{ ref('int_contacts__versions') }}
    where
        system = 'salesforce'
        and is_full_state
    {% if is_incremental() %}
        and record_key in (
            select record_key from {{ ref('int_contacts__versions') }}
            where system = 'salesforce' and {{ is_new() }}
        )
    {% endif %}
    {{ looked_up() }}
),

merged as (
    select * from versions
    where master_record_id is not null
),

-- Taken out of the recycle bin, or merged into another one since. Whichever of two versions comes last tells the undoing, so that it is
-- told in whatever order they come.
undone as (
    select
        later.system,
        earlier.master_record_id as surviving_id,
        later.record_id as merged_id,
        later.occurred_at,
        later.received_at,
        later.seq,
        greatest(later.load_id, min(earlier.load_id)) as load_id,
    from versions as later
    inner join merged as earlier
        on
            later.record_key = earlier.record_key
            and later.version_order > earlier.version_order
            and later.master_record_id is distinct from earlier.master_record_id
    group by
        later.system,
        earlier.master_record_id,
        later.record_id,
        later.occurred_at,
        later.received_at,
        later.seq,
        later.load_id
),

directives as (
    select * from stated
    union all by name
    select
        system,
        master_record_id as surviving_id,
        record_id as merged_id,
        false as is_unmerge,
        occurred_at,
        received_at,
        seq,
        load_id,
    from merged
    union all by name
    select
        *,
        true as is_unmerge,
    from undone
)

select
    system,
    surviving_id,
    merged_id,
    {{ named_record_key('system', 'surviving_id') }} as surviving_key,
    {{ named_record_key('system', 'merged_id') }} as merged_key,
    is_unmerge,
    occurred_at,
    received_at,
    coalesce(seq, 0) as seq,
    load_id,
from directives
{% if is_incremental() %}
    where {{ is_new() }}
{% endif %}
