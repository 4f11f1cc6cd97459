-- depends_on: {{ ref('int_accounts__current') }}
-- depends_on: {{ ref('int_accounts__keys') }}
-- depends_on: {{ ref('int_contacts__current') }}
-- depends_on: {{ ref('int_identity__records') }}
-- What the batch says something about, what was said before and has come true since, and who shared an identifier with these before the
-- batch. Rows of an attempt that died count again: its half-done changes have overwritten what they were derived from.
{% set former_identifiers = adapter.get_relation(this.database, this.schema, 'int_identity__identifiers') %}
{% set former_map = adapter.get_relation(this.database, 'marts', 'entity_map') %}
{% set former = adapter.get_relation(this.database, this.schema, this.identifier) %}

{% set former_keys = adapter.get_relation(this.database, this.schema, 'int_contacts__account_keys') %}
{% set former_people = adapter.get_relation(this.database, this.schema, 'int_identity__people') %}
{% set contested = adapter.get_relation(this.database, this.schema, 'accounts_contested') %}

{% set is_batch = former_map and former_keys and not flags.FULL_REFRESH %}
{% set accounts_told = accounts_stated() %}
{% set has_accounts = is_batch and has_rows(accounts_told) %}
{% set opportunities_told = opportunities_stated() %}
{% set has_contested = is_batch and contested and former_people and has_rows('select 1 from ' ~ contested) %}
{% set has_opportunities = has_contested and has_rows(opportunities_told) %}

with mentioned as (
    select record_key from {{ ref('int_identity__references') }}
    where {{ is_new() }}
    union
    select record_key from {{ ref('int_contacts__versions') }}
    where {{ has_come('occurred_at') }}
),

{% if has_accounts or has_contested %}
account_keys as (
    select * from {{ ref('int_accounts__keys') }}
),
{% endif %}

{% if has_accounts %}
accounts as (
    select * from {{ ref('int_accounts__current') }}
),

accounts_told as (
    {{ accounts_told }}
),

mapped_before as (
    select * from {{ former_map }}
    where record_key in (select accounts.record_key from accounts)
    {{ looked_up() }}
),

accounts_before as (
    select
        record_key,
        account_id,
    from mapped_before
    where known_to is null
),

placed as (
    select
        accounts.account_id,
        accounts_before.account_id as account_id_before,
        (accounts.system, accounts.record_id) in (select (accounts_told.system, accounts_told.record_id) from accounts_told) as is_told,
    from accounts
    left join accounts_before on accounts.record_key = accounts_before.record_key
),

-- An account that is told of another domain changes the company it leaves and the one it joins.
companies_changed as (
    select unnest([account_id, account_id_before]) as account_id
    from placed
    where is_told or account_id is distinct from account_id_before
),

-- The keys of all records that are of these companies now or were before.
keys_changed as (
    select distinct key_hash from account_keys
    where
        account_id in (
            select placed.account_id from placed
            where
                placed.account_id in (select companies_changed.account_id from companies_changed)
                or placed.account_id_before in (select companies_changed.account_id from companies_changed)
        )
),

of_changed_accounts as (
    select record_key from {{ former_keys }}
    where key_hash in (select keys_changed.key_hash from keys_changed)
    {{ looked_up() }}
),
{% endif %}

{% if has_contested %}
-- Who is named by more contacts, or has opportunities, may win a tie.
keys_named_before as (
    select key_hash from {{ former_keys }}
    where record_key in (select mentioned.record_key from mentioned)
    {{ looked_up() }}
),

contacts_mentioned as (
    select
        system,
        account_record_id,
    from {{ ref('int_contacts__current') }}
    where record_key in (select mentioned.record_key from mentioned)
    {{ looked_up() }}
),

{% if has_opportunities %}
opportunities_told as (
    {{ opportunities_told }}
),

opportunities_said as (
    {{ union_by_name([
        ref('stg_events__opportunities'),
        ref('stg_hubspot__deals'),
        ref('stg_salesforce__opportunities'),
    ]) }}
),
{% endif %}

keys_named as (
    select key_hash from keys_named_before
    union
    select {{ hash64(["'stated'", "system || ':' || account_record_id"]) }} as key_hash
    from contacts_mentioned
    where account_record_id is not null
    {% if has_opportunities %}
        union
        select {{ hash64(["'stated'", "system || ':' || account_record_id"]) }} as key_hash
        from opportunities_said
        where
            account_record_id is not null
            and (system, record_id) in (select (opportunities_told.system, opportunities_told.record_id) from opportunities_told)
    {% endif %}
),

people_contested as (
    select person_id from {{ contested }}
    where
        account_id in (
            select account_keys.account_id from account_keys
            where account_keys.evidence = 'stated' and account_keys.key_hash in (select keys_named.key_hash from keys_named)
        )
    {{ looked_up() }}
),

of_contested as (
    select record_key from {{ former_people }}
    where person_id in (select people_contested.person_id from people_contested)
    {{ looked_up() }}
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
    {% if has_contested %}
        union all
        select
            record_key,
            true as is_changed,
        from of_contested
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
