-- depends_on: {{ ref('int_accounts__current') }}
-- depends_on: {{ ref('int_contacts__current') }}
-- depends_on: {{ ref('int_identity__records') }}
-- What the batch says something about, what was said before and has come true since, and who shared an identifier with these before the
-- batch. Rows of an attempt that died count again: its half-done changes have overwritten what they were derived from.
{% set former_identifiers = adapter.get_relation(this.database, this.schema, 'int_identity__identifiers') %}
{% set former_map = adapter.get_relation(this.database, 'marts', 'entity_map') %}
{% set former = adapter.get_relation(this.database, this.schema, this.identifier) %}

{# Whose company an account is, is told by its domain: that takes reading every contact, and is done when a batch has accounts. A rebuild
   takes everybody anyway. #}
{% set stated = accounts_stated() %}
{% set has_accounts = former_map and not flags.FULL_REFRESH and has_rows(stated) %}

with mentioned as (
    select record_key from {{ ref('int_identity__references') }}
    where {{ is_new() }}
    union
    select record_key from {{ ref('int_contacts__versions') }}
    where {{ has_come('occurred_at') }}
),

{% if has_accounts %}
accounts as (
    select * from {{ ref('int_accounts__current') }}
),

accounts_stated as (
    {{ stated }}
),

-- An account that gets another domain changes the company it leaves and the one it joins.
accounts_changed as (
    select
        account_id,
        domain,
    from accounts
    where (system, record_id) in (select (system, record_id) from accounts_stated)
    union
    select
        unnest([mapped.account_id, accounts.account_id]) as account_id,
        unnest([
            nullif(json_extract_string(mapped.evidence, '$[0].identifier_value'), ''),
            accounts.account_group
        ]) as domain,
    from {{ former_map }} as mapped
    inner join accounts on mapped.system = accounts.system and mapped.record_id = accounts.record_id
    where
        mapped.record_type = 'account'
        and (
            (mapped.system, mapped.record_id) in (select (system, record_id) from accounts_stated)
            or mapped.account_id <> accounts.account_id
        )
),

contacts as (
    select * from {{ ref('int_contacts__current') }}
),

domains_changed as (
    select replace(domain, 'domain:', '') as domain from accounts_changed
    where domain is not null
),

of_changed_accounts as (
    select record_key from contacts
    where split_part(lower(email), '@', 2) in (select domain from domains_changed)
    union
    select record_key from {{ ref('int_identity__records') }}
    where split_part(lower(record_id), '@', 2) in (select domain from domains_changed)
    union
    select record_key from contacts
    where (system, account_record_id) in (
        select (system, record_id) from accounts
        where account_id in (select account_id from accounts_changed)
    )
),
{% endif %}

changed as (
    select
        record_key,
        true as is_changed,
    from mentioned
    {% if has_accounts %}
        union all
        select
            record_key,
            true as is_changed,
        from of_changed_accounts
    {% endif %}
    {% if former_identifiers and not flags.FULL_REFRESH %}
        union all
        select
            record_key,
            false as is_changed,
        from {{ former_identifiers }}
        where
            identifier_key in (
                select identifier_key from {{ former_identifiers }}
                where record_key in (select record_key from mentioned)
            )
    {% endif %}
    {% if former and not flags.FULL_REFRESH %}
        union all
        select
            record_key,
            is_changed,
        from {{ former }}
        where since = '{{ var("since") }}'
    {% endif %}
)

select
    record_key,
    bool_or(is_changed) as is_changed,
    '{{ var("since") }}' as since,
from changed
group by record_key
