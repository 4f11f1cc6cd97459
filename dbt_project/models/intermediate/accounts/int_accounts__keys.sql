{{ config(indexes=[{'columns': ['key_hash']}]) }}

-- depends_on: {{ source('raw_policies', 'accounts_choices') }}
-- What finds an account: whatever any record of it has ever said. Only what stands now gives a person the account; by what stood before,
-- those are found who may have to leave it.
with accounts as (
    select * from {{ ref('int_accounts__current') }}
),

said as (
    {{ union_by_name([
        ref('stg_events__accounts'),
        ref('stg_hubspot__companies'),
        ref('stg_salesforce__accounts'),
        ref('stg_enrichment__companies'),
    ]) }}
),

hosts_said as (
    select distinct
        system,
        record_id,
        {{ host_of('domain') }} as host,
    from said
    where domain is not null
),

domains_said as (
    select
        *,
        {{ company_domain('host') }} as company_domain,
    from hosts_said
),

-- A name and a country may have come by different versions.
names_said as (
    select distinct
        named.system,
        named.record_id,
        {{ name_and_country('named.name', 'placed.country') }} as name_key,
    from said as named
    inner join said as placed on named.system = placed.system and named.record_id = placed.record_id
    where named.name is not null and placed.country is not null
),

ever as (
    select
        system,
        record_id,
        'stated' as evidence,
        system || ':' || record_id as value,
    from accounts
    union all
    select
        system,
        record_id,
        'exact_domain' as evidence,
        host as value,
    from domains_said
    where company_domain is not null
    union
    select
        system,
        record_id,
        'registrable_domain' as evidence,
        company_domain as value,
    from domains_said
    where company_domain is not null
    union all
    select
        system,
        record_id,
        'name_and_country' as evidence,
        name_key as value,
    from names_said
    where name_key is not null
)

select
    accounts.account_id,
    ever.evidence,
    ever.value as evidence_value,
    {{ hash64(['ever.evidence', 'ever.value']) }} as key_hash,
    bool_or(
        not accounts.is_deleted
        and case ever.evidence
            when 'stated' then true
            when 'exact_domain' then ever.value = accounts.domain and accounts.company_domain is not null
            when 'registrable_domain' then ever.value = accounts.company_domain
            when 'name_and_country' then ever.value = accounts.name_key
        end
    ) as is_current,
from ever
inner join accounts on ever.system = accounts.system and ever.record_id = accounts.record_id
group by accounts.account_id, ever.evidence, ever.value
