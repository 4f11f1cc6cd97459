{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched',
    unique_key='person_id',
    indexes=[{'columns': ['person_id']}, {'columns': ['record_key']}],
) }}

-- depends_on: {{ ref('int_batch__touched_people') }}
-- Each statement stands until another takes its place: a newer one of the same record does; of another record of the person only a yes
-- given when the two were known to be one. Of what stands the most restrictive counts (decision 0008).
{% set in_order = 'occurred_at, received_at, is_gpc, consent_record_id' %}

with records_ever as (
    select * from {{ ref('entity_map') }}
    where {{ where_touched() if is_incremental() else 'person_id is not null' }}
    {{ looked_up() }}
),

records as (
    select * from records_ever
    where known_to is null
),

consents as (
    select
        consents.*,
        records.person_id,
    from {{ ref('int_consents__versions') }} as consents
    inner join records on consents.record_key = records.record_key
    {{ looked_up() }}
),

opt_ins as (
    select * from {{ source('raw_policies', 'consent_periods') }}
    where is_active and role = 'double_opt_in'
),

-- Since the last no: what was asked before it is over.
numbered as (
    select
        *,
        case
            when status = 'granted'
                then (
                    select min(opt_ins.days) from opt_ins
                    where
                        coalesce(opt_ins.channel = consents.channel, true)
                        and coalesce(opt_ins.purpose = consents.purpose, true)
                        and coalesce(opt_ins.lawful_basis = consents.lawful_basis, true)
                )
        end as confirm_within_days,
        count(*) filter (where status in ('denied', 'withdrawn')) over (
            partition by record_key, channel, purpose
            order by {{ in_order }}
            rows unbounded preceding
        ) as no_count,
    from consents
    where occurred_at <= {{ as_of() }}
),

answered as (
    select
        *,
        lag(status in ('pending', 'granted')) over asked
        and occurred_at <= lag(occurred_at) over asked + to_seconds(86400 * confirm_within_days) as confirms,
    from numbered
    window asked as (
        partition by record_key, channel, purpose, no_count
        order by {{ in_order }}
    )
),

confirmed as (
    select
        *,
        case
            when
                confirm_within_days is not null
                and not bool_or(coalesce(confirms, false)) over (
                    partition by record_key, channel, purpose, no_count
                    order by {{ in_order }}
                    rows unbounded preceding
                )
                then 'pending'
            else status
        end as effective_status,
    from answered
),

-- To ask for something is not yet to have it: what is pending takes the place of no denial.
renewed as (
    select
        *,
        case
            when effective_status in ('denied', 'withdrawn')
                then min(case when effective_status <> 'pending' then occurred_at end) over later
            else min(occurred_at) over later
        end as renewed_at,
    from confirmed
    window later as (
        partition by record_key, channel, purpose
        order by {{ in_order }}
        rows between 1 following and unbounded following
    )
),

-- A no of one record, and a later yes of another one that is the same person now.
contested as (
    select
        noes.consent_record_id,
        noes.person_id,
        noes.record_key,
        yeses.record_key as other_key,
        yeses.occurred_at as granted_at,
    from renewed as noes
    inner join renewed as yeses
        on
            noes.person_id = yeses.person_id
            and noes.channel = yeses.channel
            and noes.purpose = yeses.purpose
            and noes.record_key <> yeses.record_key
            and noes.occurred_at < yeses.occurred_at
    where
        noes.effective_status <> 'granted'
        and yeses.effective_status = 'granted'
        and coalesce(yeses.occurred_at < noes.renewed_at, true)
),

kin as (
    select
        record_key,
        person_id,
        system,
        record_id,
    from records
    where person_id in (select contested.person_id from contested)
),

versions as (
    select
        record_key,
        email,
        phone,
        concat_ws(' ', external_ids, master_record_id, converted_contact_id) as other_ids,
        is_full_state,
        null_fields,
        version_order,
        occurred_at,
    from {{ ref('int_contacts__versions') }}
    where record_key in (select kin.record_key from kin)
    {{ looked_up() }}
),

stated as (
    select
        record_key,
        'email' as identifier_type,
        lower(trim(email)) as stated_value,
        version_order,
        occurred_at,
    from versions
    where is_full_state or email is not null or list_contains(null_fields, 'email')
    union all
    select
        record_key,
        'phone' as identifier_type,
        phone as stated_value,
        version_order,
        occurred_at,
    from versions
    where is_full_state or phone is not null or list_contains(null_fields, 'phone')
    union all
    select
        record_key,
        'external_id' as identifier_type,
        other_ids as stated_value,
        version_order,
        occurred_at,
    from versions
    where other_ids <> ''
),

changes as (
    select
        record_key,
        identifier_type,
        occurred_at,
        stated_value,
        lag(stated_value) over told as former_value,
        row_number() over told as place,
    from stated
    where occurred_at <= {{ as_of() }}
    window told as (
        partition by record_key, identifier_type
        order by version_order
    )
),

-- Since when a record carries what it is known by now. A record that is an address always did.
identified as (
    select
        record_key,
        identifier_type,
        max(occurred_at) as identified_at,
    from changes
    where place = 1 or stated_value is distinct from former_value
    group by record_key, identifier_type
),

carried as (
    select * from {{ ref('int_identity__identifiers') }}
    where record_key in (select kin.record_key from kin)
    {{ looked_up() }}
),

directives as (
    {{ directives_in_force('select kin.record_key from kin') }}
),

merged as (
    select
        survivors.person_id,
        survivors.record_key as surviving_key,
        others.record_key as merged_key,
        directives.merged_at,
    from directives
    inner join kin as survivors on directives.surviving_key = survivors.record_key
    inner join kin as others
        on
            directives.merged_key = others.record_key
            and survivors.person_id = others.person_id
    where directives.is_merged
),

-- Two records that share an address or a number were one as soon as both carried it.
sharing as (
    select
        ours.record_key,
        theirs.record_key as other_key,
        greatest(ours_since.identified_at, theirs_since.identified_at) as joined_at,
    from carried as ours
    inner join carried as theirs on ours.identifier_key = theirs.identifier_key
    left join identified as ours_since
        on ours.record_key = ours_since.record_key and ours.identifier_type = ours_since.identifier_type
    left join identified as theirs_since
        on theirs.record_key = theirs_since.record_key and theirs.identifier_type = theirs_since.identifier_type
    where ours.is_linking and ours.identifier_type in ('email', 'phone') and ours.record_key <> theirs.record_key
),

known_as_one as (
    select * from sharing
    union all
    select
        surviving_key as record_key,
        merged_key as other_key,
        merged_at as joined_at,
    from merged
    union all
    select
        merged_key as record_key,
        surviving_key as other_key,
        merged_at as joined_at,
    from merged
),

-- However the records of a person hang together: by then they did.
settled as (
    select
        person_id,
        max(settled_at) as settled_at,
    from (
        select
            kin.person_id,
            identified.identified_at as settled_at,
        from kin
        inner join identified on kin.record_key = identified.record_key
        union all
        select
            person_id,
            merged_at as settled_at,
        from merged
    ) as instants
    group by person_id
),

joined as (
    select
        contested.consent_record_id,
        contested.granted_at,
        coalesce(min(known_as_one.joined_at), any_value(settled.settled_at)) as joined_at,
    from contested
    left join known_as_one on contested.record_key = known_as_one.record_key and contested.other_key = known_as_one.other_key
    left join settled on contested.person_id = settled.person_id
    group by contested.consent_record_id, contested.other_key, contested.granted_at
),

granted_anew as (
    select
        consent_record_id,
        min(granted_at) as granted_at,
    from joined
    where joined_at <= granted_at
    group by consent_record_id
),

processing as (
    select purpose from {{ source('raw_policies', 'consent_purposes') }}
    where is_active and role = 'processing'
),

placed as (
    select
        renewed.*,
        {{ guid(["'consent'", 'renewed.consent_record_id']) }} as consent_id,
        least(renewed.renewed_at, granted_anew.granted_at) as superseded_at,
        case when renewed.purpose in (select processing.purpose from processing) then 'processing' else 'contact' end as purpose_kind,
    from renewed
    left join granted_anew on renewed.consent_record_id = granted_anew.consent_record_id
),

-- What was stated is nobody's decision; what it means is this version's.
policy as (
    select version from {{ source('raw_policies', 'policy_versions') }}
    where is_active and kind = 'consent'
),

standing as (
    select
        *,
        superseded_at is null and coalesce(expires_at > {{ as_of() }}, true) as is_in_force,
    from placed
)

select
    consent_id,
    record_key,
    person_id,
    system,
    channel,
    purpose,
    purpose_kind,
    lawful_basis,
    status,
    effective_status,
    source,
    notice_version,
    is_gpc,
    is_in_force,
    is_in_force
    and row_number() over (
        partition by person_id, channel, purpose, is_in_force
        order by {{ restrictiveness('effective_status') }} desc, occurred_at desc, received_at desc, consent_id desc
    ) = 1 as is_current,
    occurred_at,
    received_at,
    superseded_at,
    expires_at,
    policy.version as policy_version,
from standing
cross join policy
