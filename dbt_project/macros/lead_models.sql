{# Versions of the lead model that were trained: the one that counts and those that are only watched. #}
{% macro trained_models() %}
    {{ return(policy_rows(
        'model_versions', 'version, model_id, is_active, imported_before, outcome, silence, within_days', 'true', 'version'
    )) }}
{% endmacro %}

{# What a version looks at: name, source (field, account, activity, calendar), column_name and SQL of each feature. #}
{% macro model_features(version) %}
    {{ return(policy_rows('model_features', 'name, label, source, column_name, expression', "version = '" ~ version ~ "'", 'position')) }}
{% endmacro %}

{# The SQL a version is: stage, name, expression and, of what belongs to a feature, its name. #}
{% macro model_expressions(version) %}
    {{ return(policy_rows('model_expressions', 'stage, name, expression, feature', "version = '" ~ version ~ "'", 'position')) }}
{% endmacro %}

{# Since when something counts: since it was received, and what was imported as history since it happened, or was changed. #}
{% macro known_at(relation, imported_before, happened='occurred_at') -%}
    {%- if imported_before -%}
    case
        when {{ relation }}.received_at < cast('{{ imported_before }}' as timestamptz) then {{ relation }}.{{ happened }}
        else {{ known_since(relation ~ '.') }}
    end
    {%- else -%}
    {{ known_since(relation ~ '.') }}
    {%- endif -%}
{%- endmacro %}

{# Whether a row of entity_map held at an instant. What was imported as history was so all along, as far as we know. #}
{% macro held_at(relation, instant, imported_before) -%}
    {%- if imported_before -%}
    ({{ relation }}.known_from <= {{ instant }} or {{ relation }}.known_from < cast('{{ imported_before }}' as timestamptz))
    and coalesce({{ relation }}.known_to > {{ instant }} and {{ relation }}.known_to >= cast('{{ imported_before }}' as timestamptz), true)
    {%- else -%}
    {{ relation }}.known_from <= {{ instant }} and coalesce({{ relation }}.known_to > {{ instant }}, true)
    {%- endif -%}
{%- endmacro %}

{# Names for dbt what features are made of: which of it a version needs is known only when the model is rendered. #}
{% macro features_are_made_of() -%}
{%- for name in [
    'entity_map', 'dim_people', 'fct_mqls', 'int_contacts__versions', 'int_consents__score_refusals', 'int_activities__told',
    'int_activities__unioned', 'stg_events__accounts', 'stg_hubspot__companies', 'stg_salesforce__accounts', 'stg_enrichment__companies',
] -%}
-- depends_on: {{ ref(name) }}
{% endfor -%}
{%- for name in ['model_versions', 'model_features', 'model_expressions', 'accounts_choices', 'identity_anonymous_ids'] -%}
-- depends_on: {{ source('raw_policies', name) }}
{% endfor -%}
{%- endmacro %}

{# CTEs of which the last is `features`: what was known of a person at an instant. `asked`: SQL that selects example_id, person_id and
   instant; `features`: as model_features gives them; `versions`: SQL that selects activities as they were told, every version, or the newest
   alone where the instant is now. Nothing received later is read: an activity that was told again since counts as it was told by then, and
   whose record and browser it was is asked of what was known by then. #}
{% macro features_at(asked, features, versions, imported_before=none) %}
{%- set stated = [] -%}
{%- set companies = [] -%}
{%- set with_activities = [] -%}
{%- for feature in features -%}
    {%- if feature['source'] == 'field' and feature['column_name'] not in stated -%}{%- do stated.append(feature['column_name']) -%}{%- endif -%}
    {%- if feature['source'] == 'account' and feature['column_name'] not in companies -%}{%- do companies.append(feature['column_name']) -%}{%- endif -%}
    {%- if feature['source'] == 'activity' -%}{%- do with_activities.append(feature) -%}{%- endif -%}
{%- endfor -%}
{%- set looked_up_columns = stated + (['email', 'account_record_id'] | reject('in', stated) | list if companies else []) -%}
asked as (
    {{ asked }}
),

records_then as (
    select
        asked.example_id,
        asked.instant,
        records.record_key,
        records.system,
        records.record_type,
        records.record_id,
    from asked
    inner join {{ ref('entity_map') }} as records on asked.person_id = records.person_id
    where records.record_type is distinct from 'visitor' and {{ held_at('records', 'asked.instant', imported_before) }}
),

{% if looked_up_columns %}
versions_then as (
    select
        records_then.example_id,
        records_then.instant,
        records_then.system,
        versions.record_key,
        {% for column in looked_up_columns %}
        versions.{{ column }},
        {% endfor %}
        versions.is_full_state,
        versions.null_fields,
        versions.version_order,
        versions.occurred_at,
    from records_then
    inner join {{ ref('int_contacts__versions') }} as versions on records_then.record_key = versions.record_key
    where {{ known_at('versions', imported_before) }} <= records_then.instant
),

states as (
    select
        example_id,
        instant,
        record_key,
        system,
        {% for column in looked_up_columns %}
        {{ latest_value(column) }},
        {% endfor %}
        row(max(occurred_at), record_key) as told_at,
    from versions_then
    group by example_id, instant, record_key, system
    {% if 'email' in looked_up_columns %}
    union all by name
    select
        example_id,
        instant,
        record_key,
        system,
        record_id as email,
        row(cast('-infinity' as timestamptz), record_key) as told_at,
    from records_then
    where record_type = 'email'
    {% endif %}
),
{% endif %}

state as (
    select
        asked.example_id,
        {% for column in stated %}
        arg_max(states.{{ column }}, states.told_at) as {{ column }},
        {% endfor %}
    from asked
    {% if looked_up_columns %}
    left join states on asked.example_id = states.example_id
    {% endif %}
    group by asked.example_id
),

{% if companies %}
companies_told as (
    {% for accounts in ['stg_events__accounts', 'stg_hubspot__companies', 'stg_salesforce__accounts', 'stg_enrichment__companies'] %}
    select
        told.system,
        told.record_id,
        told.domain,
        told.industry,
        told.employee_count,
        told.annual_revenue_usd,
        told.is_full_state,
        told.null_fields,
        told.occurred_at,
        row(told.occurred_at, told.received_at) as version_order,
        {{ known_at('told', imported_before) }} as known_at,
    from {{ ref(accounts) }} as told
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

-- Apart from the joins, which would ask for the host of each pair again.
sites as materialized (
    select
        *,
        {{ host_of('domain') }} as host,
    from companies_told
),

mailboxes as materialized (
    select distinct
        example_id,
        instant,
        {{ host_of("split_part(email, '@', -1)") }} as host,
    from states
),

hosts as materialized (
    select
        host,
        {{ company_domain('host') }} as company_domain,
    from (
        select host from sites
        union
        select host from mailboxes
    )
    where host is not null
),

sites_of_domains as materialized (
    select
        hosts.company_domain,
        sites.system,
        sites.record_id,
        sites.known_at,
    from sites
    inner join hosts on sites.host = hosts.host
    where hosts.company_domain is not null
),

domains_of_mailboxes as materialized (
    select distinct
        mailboxes.example_id,
        mailboxes.instant,
        hosts.company_domain,
    from mailboxes
    inner join hosts on mailboxes.host = hosts.host
    where hosts.company_domain is not null
),

companies_found as (
    select distinct
        states.example_id,
        states.instant,
        told.system,
        told.record_id,
    from states
    inner join companies_told as told
        on states.system = told.system and states.account_record_id = told.record_id and told.known_at <= states.instant
    union
    select distinct
        domains.example_id,
        domains.instant,
        sites.system,
        sites.record_id,
    from domains_of_mailboxes as domains
    inner join sites_of_domains as sites on domains.company_domain = sites.company_domain and sites.known_at <= domains.instant
),

companies_then as (
    select
        found.example_id,
        {% for column in companies %}
        {{ latest_value(column) }},
        {% endfor %}
        row(max(told.occurred_at), found.system, found.record_id) as told_at,
    from companies_found as found
    inner join companies_told as told
        on found.system = told.system and found.record_id = told.record_id and told.known_at <= found.instant
    group by found.example_id, found.system, found.record_id
),
{% endif %}

company as (
    select
        asked.example_id,
        {% for column in companies %}
        arg_max(companies_then.{{ column }}, companies_then.told_at) as {{ column }},
        {% endfor %}
    from asked
    {% if companies %}
    left join companies_then on asked.example_id = companies_then.example_id
    {% endif %}
    group by asked.example_id
),

{% if with_activities %}
activities as (
    {{ versions }}
),

refusals as (
    select * from {{ ref('int_consents__score_refusals') }}
),

-- An activity that went to another record since is found by what it says last.
told_of as (
    select distinct
        records_then.example_id,
        records_then.instant,
        activities.activity_key,
    from records_then
    inner join activities on records_then.record_key = activities.record_key
    where {{ known_at('activities', imported_before, 'changed_at') }} <= records_then.instant
),

told_then as (
    {{ told_by_then('told_of', 'activity_key', imported_before) }}
),

named as (
    select told_then.* from told_then
    semi join records_then on told_then.example_id = records_then.example_id and told_then.record_key = records_then.record_key
),

browsers_seen as (
    select distinct
        example_id,
        instant,
        visitor_key,
    from named
    where visitor_key is not null and not is_withdrawn and occurred_at <= instant
),

browsers_told as (
    {{ told_by_then('browsers_seen', 'visitor_key', imported_before) }}
),

-- A browser seen with one person alone is theirs, for a time.
browsers_then as (
    select
        sightings.example_id,
        sightings.visitor_key,
        min(sightings.occurred_at) as first_seen_at,
        max(sightings.occurred_at) as last_seen_at,
    from browsers_told as sightings
    inner join {{ ref('entity_map') }} as records
        on sightings.record_key = records.record_key and {{ held_at('records', 'sightings.instant', imported_before) }}
    where sightings.record_key <> sightings.visitor_key and not sightings.is_withdrawn and sightings.occurred_at <= sightings.instant
    group by sightings.example_id, sightings.visitor_key
    having min(records.person_id) = max(records.person_id)
),

anonymous_ids as (
    select expires_after_days from {{ source('raw_policies', 'identity_anonymous_ids') }}
    where is_active
),

visits as (
    select told.* from browsers_told as told
    inner join browsers_then as browsers on told.example_id = browsers.example_id and told.visitor_key = browsers.visitor_key
    cross join anonymous_ids
    where
        told.record_key = told.visitor_key
        and told.occurred_at >= browsers.first_seen_at - to_days(anonymous_ids.expires_after_days)
        and told.occurred_at < browsers.last_seen_at + to_days(anonymous_ids.expires_after_days)
),

told_once as (
    select * from named
    union all
    select * from visits
    {{ told_last('example_id') }}
),

-- What consent forbids to count is not counted here either.
withheld as (
    select
        told_once.example_id,
        told_once.activity_id,
    from told_once
    inner join asked on told_once.example_id = asked.example_id
    inner join refusals on asked.person_id = refusals.person_id
    where
        {{ is_of_refused_type('refusals', 'told_once') }}
        and {{ is_while_refused('refusals', 'told_once') }}
),

activities_then as (
    select told_once.* from told_once
    anti join withheld on told_once.example_id = withheld.example_id and told_once.activity_id = withheld.activity_id
    where told_once.occurred_at <= told_once.instant and not told_once.is_withdrawn
),

counted as (
    select
        asked.example_id,
        {% for feature in with_activities %}
        {{ feature['expression'] }} as "{{ feature['name'] }}",
        {% endfor %}
    from asked
    left join activities_then as done on asked.example_id = done.example_id
    group by asked.example_id
),
{% endif %}

features as (
    select
        asked.example_id,
        asked.person_id,
        asked.instant,
        {% for feature in features %}
        {{ 'counted."' ~ feature['name'] ~ '"' if feature['source'] == 'activity' else feature['expression'] }} as "{{ feature['name'] }}",
        {% endfor %}
    from asked
    inner join state on asked.example_id = state.example_id
    inner join company on asked.example_id = company.example_id
    {% if with_activities %}
    inner join counted on asked.example_id = counted.example_id
    {% endif %}
)
{% endmacro %}

{# Of `activities` with the key of somebody that is asked for, the newest version by the instant. #}
{% macro told_by_then(whom, key, imported_before) %}
    select
        {{ whom }}.example_id,
        {{ whom }}.instant,
        activities.*,
    from {{ whom }}
    inner join activities on {{ whom }}.{{ key }} = activities.{{ key }}
    where {{ known_at('activities', imported_before, 'changed_at') }} <= {{ whom }}.instant
    qualify row_number() over (
        partition by {{ whom }}.example_id, activities.activity_key
        order by activities.changed_at desc, activities.received_at desc, activities.seq desc
    ) = 1
{% endmacro %}

{# People who may not be scored, whatever they did: of them nothing is learned, and nothing is said. #}
{% macro people_not_scored() -%}
    select person_id from {{ ref('int_consents__score_refusals') }}
    where covers = 'everything' and until_at is null
{%- endmacro %}

{# What every trained version says of people now, or of each MQL by what was known then (`of_mqls`): a row per example and version. #}
{% macro every_prediction(of_mqls) %}
    {%- set models = trained_models() -%}
    {%- set newest -%}
        select *, 0 as seq from {{ ref('int_activities__unioned') }}
    {%- endset -%}
    {%- for model in models %}
    select * from (
        {%- if of_mqls -%}
            {{ predictions(model, mqls_asked(model['imported_before']), 'select * from ' ~ ref('int_activities__told')) }}
        {%- else -%}
            {{ predictions(model, people_asked(), newest) }}
        {%- endif -%}
    )
    {{ 'union all' if not loop.last }}
    {%- endfor -%}
    {%- if not models -%}
    select
        cast(null as varchar) as example_id,
        cast(null as varchar) as person_id,
        cast(null as varchar) as model_version,
        cast(null as varchar) as model_id,
        cast(null as boolean) as is_champion,
        cast(null as double) as probability,
        cast(null as varchar) as reasons,
        cast(null as timestamptz) as predicted_at,
        cast(null as timestamptz) as decided_by,
        cast(null as varchar) as features,
        cast(null as varchar) as silence,
        cast([] as varchar[]) as signs_of_success,
    where false
    {%- endif -%}
{% endmacro %}

{# Everybody, now. #}
{% macro people_asked() %}
    select
        person_id as example_id,
        person_id,
        {{ as_of() }} as instant,
    from {{ ref('dim_people') }}
    where not is_deleted and person_id not in ({{ people_not_scored() }})
{% endmacro %}

{# Each MQL, as of when it could be known: what was imported as history when it was reached. #}
{% macro mqls_asked(imported_before) %}
    select
        mql_id as example_id,
        person_id,
        {% if imported_before %}
        case when known_at < cast('{{ imported_before }}' as timestamptz) then reached_at else known_at end as instant,
        {% else %}
        known_at as instant,
        {% endif %}
    from {{ ref('fct_mqls') }}
    where person_id not in ({{ people_not_scored() }})
{% endmacro %}

{# What a version says of people at an instant. #}
{% macro predictions(model, asked, versions) %}
{%- set features = model_features(model['version']) -%}
{%- set stages = ['term', 'leaf', 'outcome'] -%}
{%- set expressions = model_expressions(model['version']) -%}
{%- set stages_told = ['features'] -%}
with {{ features_at(asked, features, versions, model['imported_before']) }}
{%- for stage in stages -%}
    {%- if expressions | selectattr('stage', 'equalto', stage) | list -%}
,

stage_{{ stage }} as (
    select
        *,
        {% for each in expressions if each['stage'] == stage %}
        {{ each['expression'] }} as {{ each['name'] }},
        {% endfor %}
    from {{ stages_told[-1] }}
)
        {%- do stages_told.append('stage_' ~ stage) -%}
    {%- endif -%}
{%- endfor %}

select
    example_id,
    person_id,
    '{{ model["version"] }}' as model_version,
    '{{ model["model_id"] }}' as model_id,
    {{ model['is_active'] }} as is_champion,
    probability,
    {{ strongest_effects(features, expressions) }} as reasons,
    instant as predicted_at,
    instant + to_seconds(86400 * {{ model['within_days'] }}) as decided_by,
    cast(to_json({
        {% for feature in features %}
        '{{ feature["name"] }}': "{{ feature["name"] }}",
        {% endfor %}
    }) as varchar) as features,
    '{{ model["silence"] }}' as silence,
    {{ signs_of_success(model["outcome"]) }} as signs_of_success,
from {{ stages_told[-1] }}
{% endmacro %}

{# What moved the log-odds most, as a JSON array of feature, label, value and effect, strongest first. #}
{% macro strongest_effects(features, expressions) -%}
    cast(to_json(list_transform(
        list_slice(list_reverse_sort(list_filter([
            {%- for each in expressions if each['feature'] -%}
            {%- for feature in features if feature['name'] == each['feature'] -%}
            {
                'size': abs({{ each['name'] }}),
                'feature': '{{ feature["name"] }}',
                'label': '{{ feature["label"] | replace("'", "''") }}',
                'value': nullif(cast("{{ feature["name"] }}" as varchar), ''),
                'effect': round({{ each['name'] }}, 3)
            }
            {%- endfor -%}
            {{ ', ' if not loop.last }}
            {%- endfor -%}
        ], lambda told: told['size'] >= 0.005)), 1, 5),
        lambda told: {
            'feature': told['feature'],
            'label': told['label'],
            'value': told['value'],
            'effect': told['effect']
        }
    )) as varchar)
{%- endmacro %}

{# What a version calls success: stages, or a meeting that took place, as an SQL list. #}
{% macro signs_of_success(outcome) -%}
    {%- set signs = {
        'met': ['met'],
        'accepted': ['accepted', 'sql', 'opportunity', 'customer'],
        'opportunity': ['opportunity', 'customer'],
        'won': ['customer'],
    }[outcome] -%}
    ['{{ signs | join("', '") }}']
{%- endmacro %}

{# What became of `examples` from their instant to the end of their days (`since`, `until`, SQL over them): one row each, with
   `succeeded_at`, and `rejected_at`, when sales said no. `by` names what tells examples apart, `signs` is SQL for what counts as success. #}
{% macro what_became_of(examples, by, since, until, signs) %}
    select
        {% for column in by %}
        {{ examples }}.{{ column }},
        {% endfor %}
        min(happened.happened_at) filter (where list_contains({{ signs }}, happened.sign)) as succeeded_at,
        min(happened.happened_at) filter (where happened.sign in ('rejected', 'recycled', 'disqualified')) as rejected_at,
    from {{ examples }}
    inner join (
        select
            person_id,
            to_stage as sign,
            changed_at as happened_at,
        from {{ ref('fct_stage_changes') }}
        union all
        select
            person_id,
            'met' as sign,
            starts_at as happened_at,
        from {{ ref('fct_meetings') }}
        where status = 'held'
    ) as happened
        on
            {{ examples }}.person_id = happened.person_id
            and {{ since }} <= happened.happened_at
            and {{ until }} >= happened.happened_at
    group by
        {% for column in by %}
        {{ examples }}.{{ column }}{{ ',' if not loop.last }}
        {% endfor %}
{% endmacro %}
