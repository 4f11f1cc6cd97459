{# What a record said at every time, by the newest version received by then: rows of record_key, the columns, known_from and known_to (none:
   still), one for each time one of them changed; `state_count` says how many. A version counts from when it was received, one of the future
   from when that has come. `records`: SQL that selects record_key; none: all. #}
{% macro contact_states(columns, records=none) %}
    with versions as (
        select
            record_key,
            {% for column in columns %}
            {{ column }},
            {% endfor %}
            is_full_state,
            null_fields,
            version_order,
            occurred_at,
            {{ known_since() }} as known_from,
        from {{ ref('int_contacts__versions') }}
        {% if records %}
            where record_key in ({{ records }})
            {{ looked_up() }}
        {% endif %}
    ),

    known as (
        select * from versions
        where occurred_at <= {{ as_of() }}
    ),

    told_again as (
        select record_key from known
        group by record_key
        having count(*) > 1
    ),

    by_then as (
        select distinct
            record_key,
            known_from,
            {% for column in columns %}
            {{ latest_value(column, 'over until_then') }},
            {% endfor %}
        from known
        where record_key in (select told_again.record_key from told_again)
        window until_then as (
            partition by record_key
            order by known_from
        )
    ),

    placed as (
        select
            *,
            row({{ columns | join(', ') }}) as state,
        from by_then
    ),

    changed as (
        select * from placed
        qualify
            row_number() over (
                partition by record_key
                order by known_from
            ) = 1
            or state is distinct from lag(state) over (
                partition by record_key
                order by known_from
            )
    )

    select
        record_key,
        {{ columns | join(', ') }},
        known_from,
        lead(known_from) over (
            partition by record_key
            order by known_from
        ) as known_to,
        count(*) over (partition by record_key) as state_count,
    from changed
    union all
    select
        record_key,
        {{ columns | join(', ') }},
        known_from,
        cast(null as timestamptz) as known_to,
        1 as state_count,
    from known
    where record_key not in (select told_again.record_key from told_again)
{% endmacro %}

{# What of a contact names a person. #}
{% macro naming_columns() %}
    {{ return(['email', 'phone', 'country', 'external_ids', 'converted_contact_id']) }}
{% endmacro %}

{# What of contacts that have said different things over time names a person, at every time. #}
{% macro contacts_renamed(records=none) %}
    select * from ({{ contact_states(naming_columns(), records) }})
    where state_count > 1
{% endmacro %}

{# What of a contact pairs can be compared by. #}
{% macro compared_columns() %}
    {{ return([
        'email', 'phone', 'first_name', 'last_name', 'birth_date', 'street_address', 'city', 'region', 'postal_code', 'country', 'company',
        'job_title', 'custom',
    ]) }}
{% endmacro %}

{# Since when and until when each record exists in its system, as known at every time: CTEs of which the last is `lives`, rows of record_key,
   valid_from, valid_to, known_from and known_to. Before its system has said anything a record exists since it was first named. #}
{% macro lives_over_time(members, records=none) %}
lives_told as (
    select
        record_key,
        created_at,
        occurred_at,
        coalesce(is_deleted, false) as is_deleted,
        version_order,
        {{ known_since() }} as known_from,
    from {{ ref('int_contacts__versions') }}
    {% if records %}
        where record_key in ({{ records }})
        {{ looked_up() }}
    {% endif %}
),

lives_known as (
    select
        *,
        is_deleted and not lag(is_deleted, 1, false) over (
            partition by record_key
            order by version_order
        ) as is_end,
    from lives_told
    where occurred_at <= {{ as_of() }}
),

lives_by_then as (
    select distinct
        record_key,
        known_from,
        coalesce(min(created_at) over until_then, min(occurred_at) over until_then) as valid_from,
        case
            when arg_max(is_deleted, version_order) over until_then
                then arg_max(occurred_at, version_order) filter (where is_end) over until_then
        end as valid_to,
    from lives_known
    window until_then as (
        partition by record_key
        order by known_from
    )
    union all
    select
        record_key,
        first_received_at as known_from,
        first_received_at as valid_from,
        cast(null as timestamptz) as valid_to,
    from {{ members }}
    where record_key not in (
        select lives_known.record_key from lives_known
        inner join {{ members }} as born on lives_known.record_key = born.record_key
        where lives_known.known_from <= born.first_received_at
    )
),

lives_changed as (
    select * from lives_by_then
    qualify
        row_number() over (
            partition by record_key
            order by known_from
        ) = 1
        or row(valid_from, valid_to) is distinct from lag(row(valid_from, valid_to)) over (
            partition by record_key
            order by known_from
        )
),

lives as (
    select
        *,
        lead(known_from) over (
            partition by record_key
            order by known_from
        ) as known_to,
    from lives_changed
)
{% endmacro %}
