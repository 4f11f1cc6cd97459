-- Domains of people and accounts whose company our own records do not tell enough of, and when somebody is to be asked. An answer does not
-- take a domain off the list: it grows old. Whom consent hides is told to nobody, so the domain that only they are known by is not on it.
with hidden as (
    select * from {{ ref('hidden_people') }}
),

people as (
    select * from {{ ref('int_identity__people') }}
),

hidden_records as (
    select record_key from people
    where person_id in (select hidden.person_id from hidden)
),

contact_keys as (
    select * from {{ ref('int_contacts__account_keys') }}
    where
        evidence = 'registrable_domain'
        and record_key not in (select hidden_records.record_key from hidden_records)
),

accounts as (
    select * from {{ ref('int_accounts__current') }}
    where not is_deleted
),

answers as (
    select * from {{ ref('stg_enrichment__answers') }}
    where occurred_at <= {{ as_of() }}
),

terms as (
    select * from {{ source('raw_policies', 'accounts_versions') }}
    where is_active
),

wanted as (
    select * from {{ source('raw_policies', 'accounts_choices') }}
    where is_active and choice = 'wanted'
),

mentioned as (
    select
        evidence_value as domain,
        count(*) as record_count,
    from contact_keys
    group by evidence_value
    union all
    select distinct
        company_domain as domain,
        0 as record_count,
    from accounts
    where company_domain is not null
),

domains as (
    select
        domain,
        sum(record_count) as record_count,
    from mentioned
    group by domain
),

told as (
    select
        account_id,
        coalesce(bool_or(name is not null), false) as has_name,
        coalesce(bool_or(industry is not null), false) as has_industry,
        coalesce(bool_or(employee_count is not null), false) as has_employee_count,
        coalesce(bool_or(annual_revenue_usd is not null), false) as has_annual_revenue_usd,
        coalesce(bool_or(country is not null), false) as has_country,
    from accounts
    where system <> 'enrichment'
    group by account_id
),

companies as (
    select
        accounts.company_domain as domain,
        bool_or(told.has_name) as has_name,
        bool_or(told.has_industry) as has_industry,
        bool_or(told.has_employee_count) as has_employee_count,
        bool_or(told.has_annual_revenue_usd) as has_annual_revenue_usd,
        bool_or(told.has_country) as has_country,
    from accounts
    inner join told on accounts.account_id = told.account_id
    where accounts.company_domain is not null
    group by accounts.company_domain
),

missing as (
    select
        domains.domain,
        to_json(list(wanted.name order by wanted.priority)) as missing,
    from domains
    cross join wanted
    left join companies on domains.domain = companies.domain
    where
        not coalesce(
            case wanted.name
                when 'name' then companies.has_name
                when 'industry' then companies.has_industry
                when 'employee_count' then companies.has_employee_count
                when 'annual_revenue_usd' then companies.has_annual_revenue_usd
                when 'country' then companies.has_country
            end,
            false
        )
    group by domains.domain
),

answered as (
    select
        domain,
        bool_or(is_found) as is_found,
        max(occurred_at) as answered_at,
    from (
        select * from answers
        qualify row_number() over (partition by provider, domain order by occurred_at desc, received_at desc) = 1
    ) as newest
    group by domain
)

select
    domains.domain,
    case when answered.domain is null then 'never_asked' when answered.is_found then 'known' else 'unknown' end as status,
    cast(missing.missing as varchar) as missing,
    cast(domains.record_count as bigint) as record_count,
    answered.answered_at,
    answered.answered_at + to_microseconds(
        cast(case when answered.is_found then terms.refresh_after_days else terms.retry_unknown_after_days end * 86400e6 as bigint)
    ) as due_at,
from domains
inner join missing on domains.domain = missing.domain
cross join terms
left join answered on domains.domain = answered.domain
